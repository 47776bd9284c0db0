"""Who may call, and how what is sent is encrypted."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    StrictBool,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from alaas.config.values import Folder, OneOrMany, Phrase, Section, Text, refuse

Scope: TypeAlias = Literal["query", "admin"]
Origin: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"),
    Phrase("a scheme, a host and perhaps a port, such as https://label.example.com"),
]
Host: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$"),
    Phrase("a host name without a port, such as alaas.example.com"),
]


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
    """Whether callers without a key are served, from anywhere, with the scope query."""

    keys: tuple[KeySettings, ...] = ()
    """API keys, sent as ``Authorization: Bearer KEY``; with any, each call needs one."""

    origins: Annotated[tuple[Origin, ...], OneOrMany()] = ()
    """Web origins whose pages may call, each exactly, such as https://label.example.com."""

    hosts: Annotated[tuple[Host, ...], OneOrMany()] = ()
    """Names by which it may be called beside localhost; none allows any if all need a key."""

    @field_validator("keys", mode="wrap")
    @classmethod
    def _say_no_key(cls, given: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """Leave out of the error what was given: it may be the key itself."""
        try:
            return read(given)
        except ValidationError as error:
            loc = error.errors(include_input=False)[0]["loc"]
            known = [
                part for part in loc if isinstance(part, int) or part in KeySettings.model_fields
            ]
            place = ".".join(map(str, known))
            raise ValueError(
                "must be a list, each with name, sha256 (64 hexadecimal digits, as `alaas keys "
                "new` prints them) and perhaps scopes (query, admin)"
                + (f"; look at {place}" if place else "")
            ) from None

    @model_validator(mode="after")
    def _names_are_unique(self) -> AuthSettings:
        names = [key.name for key in self.keys]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise refuse("keys", f"two keys have the name {double!r}")
        if "anonymous" in names:
            raise refuse("keys", "no key can be named 'anonymous', as callers without one are")
        digests = [key.sha256 for key in self.keys]
        if double := next((key.name for key in self.keys if digests.count(key.sha256) > 1), None):
            raise refuse("keys", f"{double!r} is there under another name as well")
        return self
