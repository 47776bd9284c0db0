"""The pictures in a folder of a bucket: for the user's own pools, never for a caller's."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.errors import ValidationFailed
from alaas.data.http import Turns
from alaas.data.objects import Buckets, Place
from alaas.data.problem import ItemError


def addresses_below(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """The addresses of the objects in a folder whose names end in one of `suffixes`.

    Args:
        folder: ``s3://bucket/folder/``, or ``s3://bucket/`` for all of a bucket.
        suffixes: In lower case.

    Raises:
        ValidationFailed: It cannot be listed; the message says why.
    """
    # On a thread of its own, since a loop may run here already, as in a notebook.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, _below(folder)).result()
    return [str(one) for one in found if one.key.lower().endswith(suffixes)]


async def _below(folder: str) -> list[Place]:
    limits = LimitsSettings()
    buckets = Buckets(FetchSettings.anywhere(), limits, Turns(limits))
    scheme, _, rest = folder.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        return [one async for one in buckets.below(Place(scheme.lower(), bucket, key))]
    except ItemError as error:
        raise ValidationFailed(f"{folder} cannot be listed: {error.message}") from None
    finally:
        await buckets.close()
