"""The tokenizer of a text model, as the one file that the stage before the model reads."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from alaas.config import Tokenization
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import repository
from alaas.models.reason import reason

LONGEST = 512
"""Tokens of a text where nobody says how many the model takes."""

_DIGITS = 16
_ENDLESS = 10**9
"""Tokenizers without a limit say 10^30."""


def find(name: str, *, max_tokens: int | None = None, longest: int | None = None) -> Tokenization:
    """Load a tokenizer with Transformers and keep it as ``tokenizer.json``.

    Args:
        name: The folder of a tokenizer, its ``tokenizer.json``, or a repository of the hub.
        max_tokens: Tokens of a text that are asked for; None for as many as the model takes.
        longest: Tokens that the model takes, where that is known.

    Raises:
        MissingExtra: ``alaas[huggingface]`` is not installed.
        ModelUnavailable: There is none, it has no fast form, or `max_tokens` is more than
            the model takes.
    """
    loaded = _loaded(repository.tokenizer(name), name)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ModelUnavailable(f"the tokenizer in {name!r} has no fast form, a tokenizer.json")
    # What the file says of these is for the model that it came with.
    backend.no_padding()
    backend.no_truncation()
    limits = [one for one in (longest, loaded.model_max_length) if one and one < _ENDLESS]
    most = min(limits, default=LONGEST)
    if max_tokens is not None and max_tokens > most and limits:
        raise ModelUnavailable(f"max_tokens is {max_tokens}; the model takes {most} at most")
    own = backend.num_special_tokens_to_add(is_pair=False)
    if (max_tokens or most) <= own:
        raise ModelUnavailable(
            f"max_tokens is {max_tokens or most}; the tokenizer itself adds {own} to a text"
        )
    before, after = _frame(backend)
    written = backend.to_str().encode()
    digest = hashlib.sha256(written).hexdigest()[:_DIGITS]
    return Tokenization(
        file=str(_keep(digest, written)),
        digest=digest,
        max_tokens=max_tokens or most,
        # Numbers may be left out between them: the last one counts.
        vocabulary=max(backend.get_vocab(with_added_tokens=True).values()) + 1,
        pad=0 if loaded.pad_token_id is None else loaded.pad_token_id,
        before=before,
        after=after,
    )


def _frame(backend: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a tokenizer puts before and behind a text."""
    whole, bare = (backend.encode("a", add_special_tokens=own).ids for own in (True, False))
    for start in range(len(whole) - len(bare) + 1):
        end = start + len(bare)
        if whole[start:end] == bare:
            return tuple(whole[:start]), tuple(whole[end:])
    return (), ()


def _loaded(path: Path, name: str) -> Any:
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtra(
            "tokenizers need alaas[huggingface]: pip install 'alaas[huggingface]'"
        ) from error
    # Transformers makes an empty tokenizer where it finds none.
    there = [one for one in repository.TOKENIZERS if (path / one).is_file()]
    if not there and not path.is_file():
        raise ModelUnavailable(
            f"there is no tokenizer in {name!r}, such as {', '.join(repository.TOKENIZERS[:2])}: "
            f"set `tokenizer`"
        )
    try:
        if path.is_file():
            return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
                tokenizer_file=str(path)
            )
        return AutoTokenizer.from_pretrained(
            str(path), use_fast=True, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever is in the files
        raise ModelUnavailable(f"the tokenizer in {name!r} cannot be read: {reason(error)}") from (
            error
        )


def _keep(digest: str, written: bytes) -> Path:
    folder = user_cache_path("alaas") / "tokenizers"
    path = folder / f"{digest}.json"
    try:
        if path.is_file() and path.read_bytes() == written:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as scratch:
            scratch.write(written)
        os.replace(scratch.name, path)  # in one step: nobody reads half of it
    except OSError as error:
        raise ModelUnavailable(f"the tokenizer cannot be kept in {folder}: {error}") from error
    return path
