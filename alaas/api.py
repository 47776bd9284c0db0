"""`alaas.select`: the whole pipeline in this process, no server."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from alaas.client.results import QueryResult
from alaas.core.errors import ConfigError, FieldError, MissingExtra, ValidationFailed
from alaas.core.wire import Item, Label, Labelled, Progress, QueryResponse

if TYPE_CHECKING:
    from alaas.config import ModelSettings, Settings
    from alaas.pipeline.query import Part

T = TypeVar("T")

Labels = str | Path | Iterable[Labelled | tuple[str | Path | Item, Label] | Mapping[str, Any]]

Source = str | Path | Iterable[str | Path | Item]


def select(
    source: Source,
    budget: int | str,
    *,
    strategy: str = "LeastConfidence",
    params: Mapping[str, Any] | None = None,
    model: str | Mapping[str, Any] | ModelSettings = "resnet18",
    seed: int = 0,
    n_drop: int | None = None,
    labelled: Labels | None = None,
    on_item_error: str = "skip",
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> QueryResult:
    """Choose the items of a pool that are most worth labelling.

    Args:
        source: A folder, a glob, a CSV, TSV, Parquet or text file, or an iterable of paths,
            URIs and items.
        budget: How many items to choose, or a share of the pool such as ``"10%"``.
        strategy: Any name or alias that `alaas strategies` lists.
        params: Hyper-parameters of the strategy.
        model: Name of a torchvision classifier; or the model section of a configuration,
            such as ``{"hub": "python", "name": "mine:build", "weights": "w.safetensors", ...}``.
        seed: Seed of the strategy's random generator.
        n_drop: Stochastic passes of the model, for a strategy that reads several.
        labelled: What is labelled already, for strategies that learn from it: a table with a
            column ``label``, or pairs of a path, URI or item and its label.
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
    from alaas.data.sources import items, labelled_items

    pool = items(source)
    parameters = {
        "budget": count(budget, len(pool)),
        "strategy": strategy,
        "params": dict(params or {}),
        "seed": seed,
        "n_drop": n_drop,
        "labelled": [one.to_json() for one in labelled_items(labelled)] if labelled else None,
        "on_item_error": on_item_error,
    }
    tree = settings or _settings(model)
    return QueryResult(_anywhere(_query(tree, parameters, pool, on_progress)))


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
) -> QueryResponse:
    from alaas.config import parse_parameters
    from alaas.pipeline import query
    from alaas.pipeline.engine import LocalEngine

    async def whole() -> AsyncIterator[Part]:
        if pool:
            yield pool

    checked = parse_parameters(parameters)
    async with LocalEngine(settings) as engine:
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
