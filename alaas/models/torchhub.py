"""Models of repositories of torch.hub: code of somebody else, at a commit that is named in full."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import torch

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.python import call, inputs_of
from alaas.models.reach import unreachable
from alaas.models.reason import reason
from alaas.models.vision import tensors_only

_FILE = "hubconf.py"


def build(settings: ModelSettings) -> Built:
    """Call the entrypoint ``settings.name`` of the repository, and load its weights.

    The repository is looked for in the folder of torch.hub, as ``owner_repository_commit``,
    and downloaded where it is not there. With weights ``default`` an entrypoint that has an
    argument ``pretrained`` gets it as true; with any others as false.

    Raises:
        ModelUnavailable: There is no such repository or entrypoint, it gives no
            `torch.nn.Module`, or the weights do not fit.
    """
    repository, _, commit = settings.hub.partition(":")
    inputs = inputs_of(settings, f"{settings.name} of {repository}")
    folder = _folder(repository, commit)
    own = settings.weights not in {"none", "default"}
    with _importable(folder):
        entrypoint = _entrypoint(folder, settings.name, repository)
        options = {}
        if "pretrained" in _parameters(entrypoint):
            options["pretrained"] = settings.weights == "default"
        with tensors_only():
            network = call(lambda: entrypoint(**options), f"{repository}: {settings.name}")
    if own:
        files.fill(network, Path(settings.weights).expanduser(), settings.name)
    output = "softmax" if settings.output == "auto" else settings.output
    return Built(network, inputs, output=output, origin=commit)


def _folder(repository: str, commit: str) -> Path:
    """Where the code is, downloaded if need be."""
    folder = Path(torch.hub.get_dir()) / f"{repository.replace('/', '_')}_{commit}"
    if folder.is_dir():
        return folder
    url = f"https://github.com/{repository}/zipball/{commit}"
    fault = unreachable(url)
    if fault is None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                torch.hub.list(  # type: ignore[no-untyped-call]
                    f"{repository}:{commit}", skip_validation=True, trust_repo=True, verbose=False
                )
        except Exception as error:  # noqa: BLE001  # a network, a disk, or the code itself
            fault = reason(error)
    if folder.is_dir():
        return folder
    raise ModelUnavailable(
        f"{repository} at {commit} is not in {folder.parent}, and {url} cannot be downloaded "
        f"({fault}). Offline, unpack it to {folder} (TORCH_HOME moves that)"
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _entrypoint(folder: Path, name: str, repository: str) -> Callable[..., Any]:
    path = folder / _FILE
    spec = util.spec_from_file_location("hubconf", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ModelUnavailable(f"{repository} has no {_FILE}: it is no repository of torch.hub")
    module = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is code
        raise ModelUnavailable(f"{_FILE} of {repository} fails: {reason(error)}") from error
    known = [one for one, value in vars(module).items() if callable(value) and one[0] != "_"]
    if name not in known:
        raise ModelUnavailable(
            f"{repository} has no entrypoint {name!r}; it has {', '.join(sorted(known)) or 'none'}"
        )
    entrypoint: Callable[..., Any] = vars(module)[name]
    return entrypoint


def _parameters(entrypoint: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(entrypoint).parameters)
    except (TypeError, ValueError):  # it is not written in Python
        return frozenset()
