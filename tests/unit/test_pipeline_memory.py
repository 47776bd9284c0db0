"""Stages for whose micro-batch there is not enough memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture, spec
from torch import Tensor, nn

from alaas.config import LimitsSettings
from alaas.core.errors import ModelOutputInvalid
from alaas.core.types import Batch, Plan, Raw, Raws
from alaas.core.wire import Failure
from alaas.data import decode
from alaas.models.classifier import Classifier
from alaas.models.memory import is_shortage
from alaas.pipeline import stages

EARLIER = (Failure("lost", "fetch", "not_found", "there is no such file"),)
SHORTAGES: dict[str, Callable[[], Exception]] = {
    "Python": MemoryError,
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "a processor": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "a C++ library": lambda: RuntimeError("std::bad_alloc"),
}


class Narrow(nn.Module):
    """A linear model over 8 x 8 pixels for which only so many of them fit into memory."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.whole = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))
        self.most, self.error = 99, MemoryError
        self.heavy: float | None = None
        self.sizes: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        heavy = self.heavy is not None and bool((pixels[:, 0, 0, 0] >= self.heavy).any())
        if len(pixels) > self.most or heavy:
            raise self.error()
        found: Tensor = self.whole(pixels)
        return found


@pytest.fixture
def narrow() -> Narrow:
    return Narrow()


def plan(*needs: str) -> Plan:
    return Plan("q", "least_confidence", {}, 3, 2, needs or ("probs",), cache=False)


def batch(size: int, *, seq: int = 5) -> Batch:
    array = np.random.default_rng(0).integers(0, 200, (size, 8, 8, 3), np.uint8)
    ids = tuple(f"i{row}" for row in range(size))
    return Batch(seq, ids, array, EARLIER, tuple(f"d{row}" for row in range(size)))


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 17), most=st.integers(1, 17), seq=st.integers(0, 1))
def test_halves_are_the_whole(size: int, most: int, seq: int) -> None:
    network = Narrow()
    classifier = Classifier(network, spec(8))
    asked = plan("probs", "embeddings", "draws", "head")
    whole = stages.infer(asked, batch(size, seq=seq), classifier, "m")
    network.most, network.sizes = most, []
    halved = stages.infer(asked, batch(size, seq=seq), classifier, "m")
    assert (halved.seq, halved.ids, halved.digests) == (whole.seq, whole.ids, whole.digests)
    assert halved.failures == whole.failures == EARLIER
    assert halved.arrays.keys() == whole.arrays.keys()
    assert ("head" in halved.arrays) == (seq == 0)
    for name, rows in whole.arrays.items():
        np.testing.assert_allclose(halved.arrays[name], rows, rtol=1e-5, atol=1e-6)
    assert max(network.sizes) == size  # tried whole first


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_every_kind_of_shortage(narrow: Narrow, shortage: str) -> None:
    classifier = Classifier(narrow, spec(8))
    narrow.most, narrow.sizes = 2, []
    narrow.error = SHORTAGES[shortage]  # type: ignore[assignment]
    assert stages.infer(plan(), batch(8), classifier, "m").ids == batch(8).ids
    assert sorted(narrow.sizes) == [2, 2, 2, 2, 4, 4, 8]


def test_an_item_that_does_not_fit_alone(narrow: Narrow) -> None:
    classifier = Classifier(narrow, spec(8))
    white = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    narrow.heavy = float(classifier.forward.entry(white)[0, 0, 0, 0])
    given = batch(5)
    given.array[3, 0, 0, 0] = 255
    made = stages.infer(plan(), given, classifier, "m")
    assert made.ids == ("i0", "i1", "i2", "i4")
    assert made.digests == ("d0", "d1", "d2", "d4")
    assert made.arrays["probs"].shape == (4, 4)
    assert [(one.id, one.stage, one.code) for one in made.failures] == [
        ("lost", "fetch", "not_found"), ("i3", "infer", "oom"),
    ]  # fmt: skip


def test_none_of_them_fits(narrow: Narrow) -> None:
    classifier = Classifier(narrow, spec(8))
    narrow.most = 0
    made = stages.infer(plan("probs", "embeddings"), batch(3), classifier, "m")
    assert made.ids == ()
    assert {name: rows.shape for name, rows in made.arrays.items()} == {
        "probs": (0, 4), "embeddings": (0, 192),
    }  # fmt: skip
    assert [one.code for one in made.failures] == ["not_found", "oom", "oom", "oom"]


def test_other_errors_are_not_mended(narrow: Narrow) -> None:
    classifier = Classifier(narrow, spec(8))
    narrow.most, narrow.sizes = 2, []
    narrow.error = lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied")  # type: ignore[assignment,return-value]
    with pytest.raises(RuntimeError, match="mat1"):
        stages.infer(plan(), batch(8), classifier, "m")
    assert narrow.sizes == [8]
    assert not is_shortage(ModelOutputInvalid("the model's name is out of memory"))


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("needs", [("probs",), ()])
def test_pictures_that_do_not_fit_together(
    monkeypatch: pytest.MonkeyPatch, threads: int, needs: tuple[str, ...]
) -> None:
    asked = Plan("q", "least_confidence", {}, 3, 2, needs)
    rows = [Raw(f"i{row}", encoded(picture(9, 7)), digest=f"d{row}") for row in range(7)]
    given, limits, sizes = Raws(4, tuple(rows), EARLIER), LimitsSettings(), list[int]()
    whole = stages.preprocess(asked, given, spec(8, 8), limits)
    enough = decode.preprocess

    def scarce(raws: Raws, *rest: Any, **more: Any) -> Batch:
        sizes.append(len(raws.raws))
        if len(raws.raws) > 2 or "i5" in {raw.id for raw in raws.raws}:
            raise MemoryError
        return enough(raws, *rest, **more)

    monkeypatch.setattr(decode, "preprocess", scarce)
    with ThreadPoolExecutor(threads or 1) as pool:
        made = stages.preprocess(asked, given, spec(8, 8), limits, pool if threads else None)
    kept = [0, 1, 2, 3, 4, 6]
    assert made.seq == 4
    assert made.ids == tuple(f"i{row}" for row in kept)
    assert made.digests == tuple(f"d{row}" for row in kept)
    assert np.array_equal(made.array, whole.array[kept])
    assert [(one.id, one.stage, one.code) for one in made.failures] == [
        ("lost", "fetch", "not_found"), ("i5", "preprocess", "oom"),
    ]  # fmt: skip
    assert sizes[0] == 7


def test_nothing_at_all_does_not_fit(monkeypatch: pytest.MonkeyPatch, narrow: Narrow) -> None:
    """Halving ends, and says what happened."""

    def never(*_: Any, **__: Any) -> Batch:
        raise MemoryError

    monkeypatch.setattr(decode, "preprocess", never)
    with pytest.raises(MemoryError):
        stages.preprocess(plan(), Raws(0, (Raw("a", b""),)), spec(8, 8), LimitsSettings())


@pytest.mark.gpu
def test_row41_on_a_gpu() -> None:
    """A picture takes a fifth of the memory, so that a micro-batch of 16 does not fit."""

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(192, 4)

        def forward(self, pixels: Tensor) -> Tensor:
            free, _ = torch.cuda.mem_get_info()
            if len(pixels) > 1:
                torch.empty(len(pixels), free // 5, dtype=torch.uint8, device="cuda")
            found: Tensor = self.head(pixels.flatten(1))
            return found

    torch.manual_seed(0)
    classifier = Classifier(Greedy(), spec(8), device="cuda")
    assert stages.infer(plan(), batch(16), classifier, "m").ids == batch(16).ids
