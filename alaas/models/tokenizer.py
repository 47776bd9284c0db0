"""The tokenizer of a text model, as the one file that the stage before the model reads."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from alaas.config import Tokenization
from alaas.core.errors import ModelUnavailable
from alaas.models.reason import reason

LONGEST = 512
"""Tokens of a text where nobody says how many the model takes."""

_DIGITS = 16


def find(folder: str, *, max_tokens: int | None = None, longest: int | None = None) -> Tokenization:
    """Load a tokenizer with Transformers and keep it as ``tokenizer.json``.

    Args:
        folder: The folder of a tokenizer, or its ``tokenizer.json``.
        max_tokens: Tokens of a text that are asked for; None for as many as the model takes.
        longest: Tokens that the model takes, where that is known.

    Raises:
        ModelUnavailable: There is none, it has no fast form, or `max_tokens` is more than
            the model takes.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = Path(folder).expanduser()
    try:
        if path.suffix == ".json":
            loaded: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
                tokenizer_file=str(path)
            )
        else:
            loaded = AutoTokenizer.from_pretrained(
                str(path), use_fast=True, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # whatever is in the files
        raise ModelUnavailable(f"there is no tokenizer in {folder!r}: {reason(error)}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ModelUnavailable(f"the tokenizer in {folder!r} has no fast form, a tokenizer.json")
    # Those without a limit say 10^30.
    limits = [one for one in (longest, loaded.model_max_length) if one and one < 10**9]
    most = min(limits, default=LONGEST)
    if max_tokens is not None and max_tokens > most and limits:
        raise ModelUnavailable(f"max_tokens is {max_tokens}; the model takes {most} at most")
    own = backend.num_special_tokens_to_add(is_pair=False)
    if (max_tokens or most) <= own:
        raise ModelUnavailable(
            f"max_tokens is {max_tokens}; the tokenizer itself adds {own} to a text"
        )
    written = backend.to_str().encode()
    digest = hashlib.sha256(written).hexdigest()[:_DIGITS]
    return Tokenization(
        file=str(_keep(digest, written)),
        digest=digest,
        max_tokens=max_tokens or most,
        vocabulary=len(loaded),
        pad=0 if loaded.pad_token_id is None else loaded.pad_token_id,
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
