"""The files of a model of Transformers: in a folder, in the cache of the hub, or downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from alaas.core.errors import ModelUnavailable
from alaas.models.reach import unreachable
from alaas.models.reason import reason

SAFE = ("model.safetensors", "model.safetensors.index.json")
"""Weights in one file, or the list of the files that they are in."""

TOKENIZERS = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model",
)  # fmt: skip
"""Any of them is a tokenizer."""

# What tells of a model. Folders beside it have it in the formats of other programs, but for
# those of sentence-transformers, which are numbered.
_SMALL = ["*.json", "*.txt", "*.model"]
_LARGE = ["model*.safetensors", "[0-9]_*/model*.safetensors"]


def model(name: str, revision: str | None, *, weights: bool = True, code: bool = False) -> Path:
    """The folder of a model.

    Args:
        name: A folder, or a repository of the hub.
        revision: Branch, tag or commit of the repository; None for ``main``.
        weights: Whether its weights are wanted, too.
        code: Whether files of Python are.

    Raises:
        ModelUnavailable: It is nowhere; the message has the ways out.
    """
    patterns = [*_SMALL, *(_LARGE if weights else []), *(["*.py"] if code else [])]

    def whole(folder: Path) -> bool:
        configured = any(folder.glob("*config.json"))
        return configured and (not weights or _any(folder, (*SAFE, "[0-9]_*/model*.safetensors")))

    return _find(name, revision, patterns, whole, "config.json, model.safetensors, tokenizer.json")


def tokenizer(name: str) -> Path:
    """The folder of a tokenizer, or its file.

    Args:
        name: A folder, a ``tokenizer.json``, or a repository of the hub.

    Raises:
        ModelUnavailable: It is nowhere; the message has the ways out.
    """
    if name.endswith(".json"):
        return Path(name).expanduser()
    return _find(name, None, _SMALL, lambda folder: _any(folder, TOKENIZERS), "tokenizer.json")


def _any(folder: Path, names: Sequence[str]) -> bool:
    return any(one for name in names for one in folder.glob(name))


def _find(
    name: str,
    revision: str | None,
    patterns: list[str],
    whole: Callable[[Path], bool],
    files: str,
) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        cached = _cached(name, revision)
    except HFValidationError as error:
        raise ModelUnavailable(
            f"there is no folder {name!r}, and no repository of the hub is called so"
        ) from error
    if cached is not None and whole(cached):
        return cached
    if constants.HF_HUB_OFFLINE:
        fault: str | None = "HF_HUB_OFFLINE is set"
    else:
        fault = unreachable(constants.ENDPOINT, refusing=False)
    if fault is None:
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        except Exception as error:  # noqa: BLE001  # a network, a server, a disk
            fault = _fault(error, revision)
    part = "is only in part" if cached is not None else "is neither a folder nor"
    raise ModelUnavailable(
        f"{name} {part} in the cache {os.fspath(constants.HF_HUB_CACHE)}, and "
        f"{constants.ENDPOINT} does not give it ({fault}). Offline, set `name` to a folder with "
        f"{files}, or copy the cache of a machine that has it (HF_HOME moves it)"
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """The folder of the cache that has files of a repository, if there is one."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "modules.json", *TOKENIZERS):
        found = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _fault(error: Exception, revision: str | None) -> str:
    """Why a download failed."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "its terms must be accepted on its page first, and HF_TOKEN be of who has done so"
    if isinstance(error, RepositoryNotFoundError):
        return "it has no such repository, or a private one, for which HF_TOKEN must be set"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no revision {revision!r}"
    return reason(error)


def check_weights(folder: Path, name: str) -> None:
    """Make sure that a folder has weights that can be read.

    Raises:
        ModelUnavailable: It has none, or only pickled ones.
    """
    if any((folder / one).is_file() for one in SAFE):
        return
    pickled = next((one.name for one in sorted(folder.glob("*.bin"))), None)
    if pickled:
        raise ModelUnavailable(
            f"{name} has its weights in {pickled} only, which is pickled and could run code: "
            f"save them as safetensors, or name a `revision` that has model.safetensors"
        )
    raise ModelUnavailable(
        f"{name} has no weights: there is no model.safetensors in it (`weights: none` gives "
        f"random ones, and a path those of a file; a `revision` of the hub may have it)"
    )


def origin(folder: Path) -> str:
    """The commit that a folder of the cache is, which is what the cache calls it; or nothing."""
    return folder.name if folder.parent.name == "snapshots" else ""
