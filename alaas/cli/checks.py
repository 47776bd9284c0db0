"""The checks of ``alaas doctor``."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from alaas import __version__
from alaas.cli import extras, machine, options
from alaas.core.errors import ModelUnavailable, SetupError
from alaas.models.reach import unreachable

if TYPE_CHECKING:
    from alaas.config import ModelSettings, Settings
    from alaas.config.listeners import Listener

_GIB = 1 << 30
_LITTLE_MEMORY = 2 * _GIB  # for five processes, of which one holds torch and the model
_LITTLE_DISK = _GIB


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: What was looked at.
        status: ``problem`` keeps the service from starting, or from reading the URI.
        detail: What was found.
        advice: What to do about it, or an empty string.
    """

    name: str
    status: Literal["ok", "warning", "problem"]
    detail: str
    advice: str = ""


def examine(config: Path | None, *, model: str | None, uri: str | None) -> Iterator[Check]:
    """Make all checks, each when it is asked for.

    Args:
        config: The YAML file that the service would be started with.
        model: Name of the model, instead of the configured one.
        uri: A picture to read as the service would.

    Raises:
        ConfigError: The configuration is wrong.
    """
    yield Check("alaas", "ok", f"{__version__} on Python {platform.python_version()}")
    yield _packages("server")
    yield _packages("local")
    yield Check("cores", "ok", str(machine.cores()))
    yield _memory()
    if absent := extras.missing(extras.LOCAL):
        why = f"{', '.join(absent)} not installed"
        yield Check("not checked", "warning", f"ports, device, weights, disk and URI: {why}")
        return
    settings = _settings(config, model)
    for listener in settings.active_learning.al_worker.listeners:
        yield _port(listener)
    chosen = settings.active_learning.strategy
    yield _device(chosen.model)
    for served in chosen.served.values():
        yield from _weights(served)
    if uri is not None:
        yield _picture(uri, settings)


def _packages(extra: Literal["local", "server"]) -> Check:
    """The packages of one extra, without those of the extra that it builds on."""
    modules = dict(extras.LOCAL)
    if extra == "server":
        modules = {name: one for name, one in extras.SERVER.items() if name not in modules}
    if absent := [modules[module] for module in extras.missing(modules)]:
        return Check(
            extra, "problem", f"not installed: {', '.join(absent)}", f"pip install 'alaas[{extra}]'"
        )
    return Check(extra, "ok", ", ".join(f"{one} {_version(one)}" for one in modules.values()))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"


def _memory() -> Check:
    found = machine.memory()
    if found is None:
        return Check("memory", "ok", "not told by this system")
    detail = f"{found / _GIB:.1f} GiB available"
    if found < _LITTLE_MEMORY:
        return Check("memory", "warning", detail, "large models and pools may not fit")
    return Check("memory", "ok", detail)


def _settings(config: Path | None, model: str | None) -> Settings:
    from alaas.config import load
    from alaas.strategies import registry

    overrides = options.model_overrides(model=model, hub=None, weights=None, device=None)
    choices = {"active_learning.strategy.type": registry.names()}
    return load(config, overrides=overrides, choices=choices).settings


def _port(listener: Listener) -> Check:
    from alaas.server.ports import check_free

    try:
        check_free(listener)
    except SetupError as error:
        advice = "stop what listens there, or take another: `alaas serve --port N`"
        return Check("port", "problem", error.detail, advice)
    return Check("port", "ok", f"{listener.port} on {listener.host} is free")


def _device(model: ModelSettings) -> Check:
    try:
        import torch

        from alaas.models.load import resolve_device
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        return Check("device", "problem", f"torch does not load: {reason}", "reinstall torch")
    try:
        device = resolve_device(model.device)
    except ModelUnavailable as error:
        return Check("device", "problem", error.detail, "`alaas serve --device auto`")
    if not device.startswith("cuda"):
        return Check("device", "ok", f"{device}, {torch.get_num_threads()} threads of torch")
    names = [torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count())]
    return Check("device", "ok", f"{device}: {', '.join(names)}")


def _weights(model: ModelSettings) -> Iterator[Check]:
    """Whether the weights are here or could be downloaded, and whether they would fit."""
    if model.hub != "torchvision":
        said = f"{model.name} of {model.hub}, which `alaas models check` loads and tries"
        yield Check("weights", "ok", said)
        return
    from torchvision.models import get_model_weights

    from alaas.models import vision
    from alaas.models.weights import cached

    if model.name not in vision.names():
        detail = f"torchvision has no classifier {model.name!r}"
        yield Check("weights", "problem", detail, "`alaas models` lists what it has")
        return
    published = get_model_weights(model.name)
    if model.weights == "none":
        yield Check("weights", "ok", f"{model.name} with random weights, nothing to download")
    elif model.weights == "default" or model.weights in published.__members__:
        chosen = published["DEFAULT" if model.weights == "default" else model.weights]
        file = cached(chosen.url)
        needed = 0 if file.is_file() else round(chosen.meta["_file_size"] * 2**20)
        yield _published(model.name, chosen.url, file, needed=needed)
        yield _disk(file.parent, needed=needed)
    else:
        yield _own_file(model)


def _own_file(model: ModelSettings) -> Check:
    path = Path(model.weights).expanduser()
    if path.is_file():
        return Check("weights", "ok", f"{model.name} from {path}")
    advice = f"name a file, or one of those that `alaas models` lists for {model.name}"
    return Check("weights", "problem", f"there are no weights {model.weights!r}", advice)


def _published(model: str, url: str, file: Path, *, needed: int) -> Check:
    if not needed:
        return Check("weights", "ok", f"{model} from {file}")
    reason = unreachable(url)
    if reason is None:
        host = urlsplit(url).hostname
        return Check("weights", "ok", f"{model}, {needed / 2**20:.0f} MiB to download from {host}")
    return Check(
        "weights",
        "problem",
        f"{model} is not in {file.parent}, and {url} does not answer: {reason}",
        "copy the file into that folder, or try things out with `--weights none`",
    )


def _disk(folder: Path, *, needed: int) -> Check:
    free = machine.free_disk(folder)
    detail = f"{free / _GIB:.1f} GiB free for {folder}"
    if free < needed:
        return Check("disk", "problem", detail, "make room, or set TORCH_HOME to another folder")
    if free - needed < _LITTLE_DISK:
        return Check("disk", "warning", detail, "larger weights will not fit")
    return Check("disk", "ok", detail)


def _picture(uri: str, settings: Settings) -> Check:
    """Whether the service could read a picture: fetched and decoded as it would."""
    from alaas.core.types import Items, Raws
    from alaas.core.wire import Item
    from alaas.data.decode import decode
    from alaas.data.fetch import Fetcher
    from alaas.data.problem import ItemError

    async def fetch() -> Raws:
        async with Fetcher(settings.fetch, settings.limits) as fetcher:
            return await fetcher.fetch(Items(0, (Item(uri, uri=uri),)))

    fetched = asyncio.run(fetch())
    for failure in fetched.failures:
        advice = ""
        if failure.code in ("uri_blocked", "scheme_disabled"):
            advice = "`alaas serve --root FOLDER` allows files, `--network CIDR` private networks"
        return Check("uri", "problem", f"{uri}: {failure.message} [{failure.code}]", advice)
    data = fetched.raws[0].data
    try:
        picture = decode(data, max_pixels=settings.limits.pixels)
    except ItemError as error:
        return Check("uri", "problem", f"{uri}: {error.message} [{error.code}]")
    size = f"{picture.width} x {picture.height} pixels"
    return Check("uri", "ok", f"{uri}: {size}, {len(data):,} bytes")
