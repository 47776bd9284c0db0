"""Who may call, and how what is sent is encrypted."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StrictBool, model_validator

from alaas.config.values import Folder, OneOrMany, Phrase, Section, Text, refuse

Scope: TypeAlias = Literal["query", "admin"]


class TLSSettings(Section):
    """What https, wss and grpcs are encrypted with."""

    certificate: Folder
    """Path of the certificate chain, in PEM."""

    key: Folder
    """Path of its private key, in PEM."""


class KeySettings(Section):
    """An API key that callers may use. `alaas keys new` makes one."""

    name: Text
    """Name of the key, for people and logs."""

    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$"), Phrase("64 hexadecimal digits")
    ]  # fmt: skip
    """SHA-256 of the key, in hexadecimal: the key itself is written down nowhere."""

    scopes: Annotated[tuple[Scope, ...], OneOrMany(), Field(min_length=1)] = ("query",)
    """What it opens: query (queries, pushes, jobs), admin (all of it, and the metrics)."""


class AuthSettings(Section):
    """Who may call. Without keys, callers on this machine alone are served."""

    anonymous: StrictBool = False
    """Whether callers without a key are served from anywhere, with the scope query."""

    keys: tuple[KeySettings, ...] = ()
    """API keys, sent as ``Authorization: Bearer KEY``; with any, everybody needs one."""

    origins: Annotated[tuple[Text, ...], OneOrMany()] = ()
    """Web origins whose pages may call, each exactly, such as https://label.example.com."""

    hosts: Annotated[tuple[Text, ...], OneOrMany()] = ()
    """Host names by which it may be called; none allows any, or without keys addresses only."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> AuthSettings:
        names = [key.name for key in self.keys]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise refuse("keys", f"two keys have the name {double!r}")
        return self
