"""`alaas.select`: the whole pipeline in this process, no server."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union

from alaas.client.results import QueryResult
from alaas.core.errors import ConfigError, FieldError, MissingExtra, ValidationFailed
from alaas.core.wire import Item, Label, Labelled, Progress, QueryResponse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alaas.config import ModelSettings, Settings
    from alaas.models.load import Model
    from alaas.pipeline.query import Part

T = TypeVar("T")

Labels = (
    str
    | Path
    | Iterable[Labelled | tuple[str | Path | Item, Label] | Mapping[str, Any]]
    | tuple["NDArray[Any]", Iterable[Any]]
)

Source = Union[str, Path, Iterable[str | Path | Item], "NDArray[Any]"]

DEFAULT = "resnet18"
"""The model of a pool that is no array, where none is named."""


def select(
    source: Source,
    budget: int | str,
    *,
    strategy: str = "LeastConfidence",
    params: Mapping[str, Any] | None = None,
    model: Any = None,
    seed: int = 0,
    n_drop: int | None = None,
    labelled: Labels | None = None,
    calibrate: str | None = None,
    on_item_error: str = "skip",
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> QueryResult:
    """Choose the items of a pool that are most worth labelling.

    Args:
        source: A folder, a glob, a CSV, TSV, Parquet or text file, an iterable of paths,
            URIs and items, or an (N, D) array of vectors, whose ids are its row numbers.
        budget: How many items to choose, or a share of the pool such as ``"10%"``.
        strategy: Any name or alias that `alaas strategies` lists.
        params: Hyper-parameters of the strategy.
        model: Name of a torchvision classifier, ``resnet18`` if none is given; or the model
            section of a configuration, such as ``{"hub": "python", "name": "mine:build",
            "weights": "w.safetensors", ...}``; or a model that is there already: a
            `torch.nn.Module`, a fitted estimator of scikit-learn, a pair of a model of
            Transformers and its tokenizer, or any of them as an `alaas.Live`, with what has
            to be said of it. Vectors need none: without one they are the embeddings.
        seed: Seed of the strategy's random generator.
        n_drop: Stochastic passes of the model, for a strategy that reads several.
        labelled: What is labelled already, for strategies that learn from it: a table with a
            column ``label``, pairs of a path, URI or item and its label, or, for vectors, a
            pair of an (M, D) array and M labels.
        calibrate: ``temperature`` or ``dirichlet`` scales class probabilities, by what is
            labelled, before the strategy reads them.
        on_item_error: ``skip`` lists bad items in the result's `failures`; ``fail`` raises.
        settings: A whole configuration instead; its model then is the model.
        on_progress: Called after every micro-batch.

    Returns:
        The picks, best first, with scores, failures, timings and receipt.

    Raises:
        EmptyInput: The source has no items.
        ValidationFailed: A parameter is wrong.
        ConfigError: The mapping of a model has a wrong key or value.
        ModelUnavailable: The model cannot be loaded.
        AllItemsFailed: No item could be read and predicted.
        MissingExtra: ``alaas[local]`` is not installed.
    """
    need_local()
    from alaas.data import vectors
    from alaas.data.sources import items, labelled_items

    rows = vectors.matrix(source) if vectors.is_array(source) else None
    pool = items(source) if rows is None else vectors.as_items(rows)
    known: Any = labelled  # of which mypy cannot tell a pair of arrays from a tuple of pairs
    if isinstance(labelled, tuple) and len(labelled) == 2 and vectors.is_array(labelled[0]):
        # An estimator numbers its classes by their place among those that it was fitted on.
        classes = getattr(getattr(model, "model", model), "classes_", ())
        known = vectors.as_labelled(known[0], known[1], classes=classes)
    parameters = {
        "budget": count(budget, len(pool)),
        "strategy": strategy,
        "params": dict(params or {}),
        "seed": seed,
        "n_drop": n_drop,
        "labelled": [one.to_json() for one in labelled_items(known)] if known else None,
        "calibrate": calibrate,
        "on_item_error": on_item_error,
    }
    here = None
    if settings is not None:
        tree = settings
    elif _is_live(model) or (rows is not None and model is None):
        here = _live(model, None if rows is None else rows.shape[1])
        tree = _settings(DEFAULT)
        # A model changes from one query to the next, and an array is at hand: to keep what
        # comes of them would fill the disk and find nothing again.
        tree = tree.model_copy(update={"store": tree.store.model_copy(update={"cache": False})})
    else:
        tree = _settings(DEFAULT if model is None else model)
    return QueryResult(_anywhere(_query(tree, parameters, pool, on_progress, here)))


def count(budget: int | str, pool_size: int) -> int:
    """Turn a budget as a user writes it into a number of items.

    Args:
        budget: A whole number, or a share such as ``10%`` or ``0.5%``, at least one item.
        pool_size: Items in the pool.

    Raises:
        ValidationFailed: It is neither.

    Example:
        >>> count("10%", 250), count("0.1%", 250), count("7", 250)
        (25, 1, 7)
    """
    text = str(budget).strip()
    try:
        if not text.endswith("%"):
            return int(text)
        share = float(text[:-1])
    except ValueError:
        share = -1.0
    if not 0 < share <= 100:
        message = f"must be a whole number, or a share above 0% and up to 100%, got {text!r}"
        raise ValidationFailed(
            f"budget {message}", errors=[FieldError("/parameters/budget", message)]
        )
    return max(1, round(pool_size * share / 100))


def need_local() -> None:
    """Check that what a local selection imports is installed.

    Raises:
        MissingExtra: It is not.
    """
    for module in ("numpy", "scipy", "faiss", "PIL", "aiohttp", "pydantic", "torch", "torchvision"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(
                f"a selection in this process needs {module}: pip install 'alaas[local]'"
            )


def _settings(model: str | Mapping[str, Any] | ModelSettings) -> Settings:
    from alaas.config import (
        ActiveLearningSettings,
        FetchSettings,
        ModelSettings,
        Settings,
        StrategySettings,
    )

    if isinstance(model, str):
        chosen = ModelSettings(name=model)
    elif isinstance(model, ModelSettings):
        chosen = model
    else:
        chosen = _checked(model)
    # Whoever calls this can read the files anyway: there is no border to guard.
    return Settings(
        active_learning=ActiveLearningSettings(strategy=StrategySettings(model=chosen)),
        fetch=FetchSettings.anywhere(),
    )


def _is_live(model: Any) -> bool:
    from alaas.config import ModelSettings

    return model is not None and not isinstance(model, str | Mapping | ModelSettings)


def _live(model: Any, dim: int | None) -> Model:
    from alaas.models import live

    return live.load(model, dim=dim)


def _checked(model: Mapping[str, Any]) -> ModelSettings:
    from pydantic import ValidationError

    from alaas.config import ModelSettings
    from alaas.config.problems import dotted, problems

    try:
        return ModelSettings.model_validate(dict(model))
    except ValidationError as error:
        found = problems(error, ModelSettings)
    raise ConfigError("\n".join(f"model.{dotted(one.path)}: {one.message}" for one in found))


async def _query(
    settings: Settings,
    parameters: Mapping[str, Any],
    pool: list[Item],
    on_progress: Callable[[Progress], None] | None,
    model: Model | None = None,
) -> QueryResponse:
    from alaas.config import parse_parameters
    from alaas.pipeline import query
    from alaas.pipeline.engine import LocalEngine

    async def whole() -> AsyncIterator[Part]:
        if pool:
            yield pool

    checked = parse_parameters(parameters)
    async with LocalEngine(settings, model) as engine:
        return await query.run(
            engine,
            checked,
            whole(),
            defaults=settings.active_learning.strategy,
            on_progress=on_progress,
        )


def _anywhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
