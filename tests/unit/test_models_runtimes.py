"""What runs a network: that every runtime does as torch does, and what is done if not."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_models_classifier import Colours, Plain, architecture, pictures, spec
from torch import Tensor, nn

from alaas.config import ModelSettings
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import kept
from alaas.models.card import resolved
from alaas.models.classifier import Classifier
from alaas.models.load import load
from alaas.models.runtimes import choice
from alaas.models.runtimes.engine import Engine

SQUARE = {"size": 8, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
PACKAGES = {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx"]}


def needed(runtime: str) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package, reason=f"needs alaas[{choice._EXTRAS[runtime][0]}]")


@pytest.fixture(params=list(PACKAGES))
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime that is not torch."""
    needed(request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kept.root()


def absent(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def settings(name: str = "plain", **rest: Any) -> ModelSettings:
    return ModelSettings.model_validate(
        {
            "hub": "python",
            "name": f"{__name__}:{name}",
            "preprocess": SQUARE,
            "device": "cpu",
            **rest,
        }
    )


def plain() -> nn.Module:
    return Plain()


def chosen(classifier: Classifier, **rest: Any) -> Engine:
    return choice.choose(classifier, settings(**rest), digest=classifier.digest())


def both(network: nn.Module, size: int, runtime: str, images: NDArray[Any]) -> list[Any]:
    """The views of a batch by torch and by another runtime."""
    classifier = Classifier(network, spec(size))
    names = [name for name in ("probs", "embeddings", "grads") if name in classifier.provides]
    expected = classifier.views(images, names)
    classifier.engine = chosen(classifier, runtime=runtime)
    assert classifier.engine.runtime == runtime
    return [expected, classifier.views(images, names)]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "squeezenet1_0",
        "mobilenet_v3_small",
        "a small vision transformer",
        "a small swin transformer",
    ],
)
def test_views_are_those_of_torch(name: str, runtime: str) -> None:
    images = pictures(5, 64)  # of another length than what was traced
    expected, found = both(architecture(name), 64, runtime, images)
    assert {"probs", "embeddings"} <= found.keys()
    for view, wanted in expected.items():
        assert found[view].dtype == np.float32
        assert_allclose(found[view], wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
        # The rows differ by more than the runtimes.
        assert np.abs(found[view] - wanted).max() < 0.01 * np.ptp(wanted, axis=0).max()


class Edges(nn.Module):
    """Sees where the picture ends: its convolution pads with zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).flatten(1))
        return logits


def test_what_is_padded_is_not_shifted(runtime: str) -> None:
    expected, found = both(Edges(), 8, runtime, pictures(3, 8))
    assert_allclose(found["embeddings"], expected["embeddings"], rtol=1e-4, atol=1e-5)


def test_a_network_without_a_head(runtime: str) -> None:
    expected, found = both(Colours(), 8, runtime, pictures(3, 8))
    assert list(found) == ["probs"]
    assert_allclose(found["probs"], expected["probs"], rtol=1e-4)


def test_what_was_computed_stays_when_the_next_batch_comes(runtime: str) -> None:
    classifier = Classifier(Plain(), spec(8))
    engine = chosen(classifier, runtime=runtime)
    first = engine.run(pictures(4, 8))
    before = [rows.copy() for rows in first]
    engine.run(pictures(4, 8, seed=9))
    assert all((rows == kept).all() for rows, kept in zip(first, before, strict=True))


def test_draws_of_the_last_layers_take_embeddings_of_the_runtime(runtime: str) -> None:
    torch.manual_seed(5)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.Dropout(0.5), nn.Linear(9, 4))
    classifier, images = Classifier(network, spec(8)), pictures(6, 8)
    assert classifier.source is not None
    assert classifier.source.last
    expected = classifier.views(images, ("draws", "probs"), seed=3)
    classifier.engine = chosen(classifier, runtime=runtime)
    found = classifier.views(images, ("draws", "probs"), seed=3)
    for view, wanted in expected.items():
        assert_allclose(found[view], wanted, rtol=1e-4, atol=1e-6)


class Branching(nn.Module):
    """Decides by its pixels: a trace holds one of the two ways alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        logits: Tensor = self.head(means)
        return logits if len(x) == 2 else -logits - 1


class Foreign(nn.Module):
    """Leaves torch on the way, so that no converter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.from_numpy(x.numpy().mean((2, 3))))
        return logits.clone() if float(logits.sum()) else logits


class Sorting(nn.Module):
    """Has an operation that neither converter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        logits: Tensor = self.head(torch.special.bessel_j0(means) + torch.special.i1e(means))
        return logits


@pytest.mark.parametrize("network", [Branching(), Foreign(), Sorting()])
def test_what_a_runtime_computes_otherwise_is_left_to_torch(
    network: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    needed("openvino")
    needed("onnxruntime")
    classifier = Classifier(network, spec(8))
    with caplog.at_level(logging.INFO, "alaas.models"):
        engine = chosen(classifier)
    assert engine.runtime == "torch"
    *warned, said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in warned] == ["WARNING", "WARNING"]
    for name, (_, line) in zip(PACKAGES, warned, strict=True):
        assert f"{name} does not run it: " in line
    assert said[0] == "INFO"
    assert "runs in torch, fp32, on cpu: openvino does not run it" in said[1]
    with torch.inference_mode():
        logits = network(classifier._input(pictures(3, 8))).softmax(1)
    assert_allclose(classifier.views(pictures(3, 8), ("probs",))["probs"], logits, rtol=1e-5)


def test_what_is_asked_for_and_does_not_run_it(runtime: str) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        chosen(Classifier(Branching(), spec(8)), runtime=runtime)
    assert f"cannot be run, {runtime} does not run it: its logits are " in caught.value.detail
    assert "allowed is 0.0001" in caught.value.detail


def test_the_fastest_is_taken_and_said(caplog: pytest.LogCaptureFixture) -> None:
    needed("openvino")
    with caplog.at_level(logging.INFO, "alaas.models"):
        model = load(settings())
    assert model.card.runtime == model.classifier.engine.runtime == "openvino"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(":plain runs in openvino, fp32, on cpu: the fastest there is")


def test_what_is_not_installed_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    absent(monkeypatch, "openvino", "onnx")
    with caplog.at_level(logging.INFO, "alaas.models"):
        assert load(settings()).card.runtime == "torch"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "openvino is not installed (pip install 'alaas[openvino]')" in line
    assert "onnxruntime is not installed (pip install 'alaas[onnx]')" in line


@pytest.mark.parametrize(("name", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_what_is_asked_for_and_not_installed(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(monkeypatch, *PACKAGES[name])
    with pytest.raises(MissingExtra) as caught:
        load(settings(runtime=name))
    said = f"runtime {name} is not installed: pip install 'alaas[{extra}]'"
    assert caught.value.detail == said


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_other_devices_have_torch_alone(device: str) -> None:
    assert choice.options(settings(), device).runtimes == ("torch",)
    with pytest.raises(ModelUnavailable, match=f"on the CPU only, and the device is {device}: set"):
        choice.options(settings(runtime="openvino"), device)


@pytest.mark.parametrize(
    ("device", "precision", "found"),
    [
        ("cpu", "auto", "fp32"),
        ("cuda:0", "auto", "fp16"),
        ("mps", "auto", "fp32"),
        ("cpu", "bf16", "bf16"),
        ("cuda", "fp32", "fp32"),
    ],
)
def test_precisions(device: str, precision: str, found: str) -> None:
    assert choice.options(settings(precision=precision), device).precision == found


def test_to_compile_is_a_wish_for_torch() -> None:
    assert choice.options(settings(compile=True), "cpu").runtimes == ("torch",)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fewer_bits_stay_close(precision: str) -> None:
    classifier, images = Classifier(architecture("resnet18"), spec(64)), pictures(6, 64)
    names = ("probs", "embeddings")
    exact = classifier.views(images, names)
    classifier.engine = chosen(classifier, runtime="torch", precision=precision)
    rough = classifier.views(images, names)
    for name in names:
        apart = choice.distance(rough[name], exact[name])
        assert 0 < apart < choice.TOLERANCE[precision]


def test_a_precision_that_the_processor_lacks_is_refused_or_kept() -> None:
    """OpenVINO would compute in fp32 and say nothing."""
    openvino = pytest.importorskip("openvino", reason="needs alaas[openvino]")
    known = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    classifier = Classifier(architecture("resnet18"), spec(64))
    if "BF16" in known:
        engine = chosen(classifier, runtime="openvino", precision="bf16")
        exact = classifier.engine.run(pictures(3, 64))
        assert choice.distance(engine.run(pictures(3, 64))[1], exact[1]) > 1e-4
    else:
        with pytest.raises(ModelUnavailable, match="this processor has no bf16 arithmetic"):
            chosen(classifier, runtime="openvino", precision="bf16")


def test_onnxruntime_has_one_precision() -> None:
    needed("onnxruntime")
    with pytest.raises(ModelUnavailable, match="it computes in fp32 on a processor, and not in"):
        chosen(Classifier(Plain(), spec(8)), runtime="onnxruntime", precision="bf16")


def test_threads_reach_torch_and_the_runtime() -> None:
    needed("openvino")
    model = load(settings(runtime="openvino"), threads=2)
    assert torch.get_num_threads() == 2
    engine: Any = model.classifier.engine
    assert model.classifier.lanes == 2
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert engine._compiled.get_property("NUM_STREAMS") == 2
    assert not engine._compiled.get_property("ENABLE_CPU_PINNING")


def test_lanes_beside_each_other_compute_what_one_does(runtime: str) -> None:
    torch.set_num_threads(2)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )
    classifier = Classifier(network, spec(8))
    classifier.engine = chosen(classifier, runtime=runtime)
    assert classifier.lanes == 2
    batches = [pictures(1 + at % 3, 8) for at in range(40)]
    # Some with draws, which patch the network that the others must not notice.
    needs = [("probs", "draws") if at % 4 == 0 else ("probs", "embeddings") for at in range(40)]

    def views(at: int) -> dict[str, Any]:
        return classifier.views(batches[at], needs[at], n_drop=3)

    alone = [views(at) for at in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(views, range(40)))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_conversion_is_kept(cache: Path, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = Classifier(Plain(), spec(8)), pictures(3, 8)
    expected = chosen(classifier, runtime=runtime).run(images)
    (folder,) = cache.iterdir()

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("it was converted again")

    with monkeypatch.context() as patched:
        patched.setattr(torch.jit, "trace", fail)
        patched.setattr(torch.onnx, "export", fail)
        found = chosen(classifier, runtime=runtime).run(images)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    with torch.no_grad():
        classifier.network.head.bias += 1
    chosen(classifier, runtime=runtime)
    assert len([*cache.iterdir()]) == 2
    assert folder.exists()


@pytest.mark.parametrize("broken", [b"", b"rubbish"])
def test_a_kept_conversion_that_is_broken_is_made_again(
    cache: Path, runtime: str, broken: bytes
) -> None:
    classifier, images = Classifier(Plain(), spec(8)), pictures(3, 8)
    expected = chosen(classifier, runtime=runtime).run(images)
    (folder,) = cache.iterdir()
    for file in folder.iterdir():
        file.write_bytes(broken)
    found = chosen(classifier, runtime=runtime).run(images)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert all(file.read_bytes() != broken for file in folder.iterdir())


def test_a_kept_conversion_of_another_network_is_not_trusted(cache: Path, runtime: str) -> None:
    one, other = Classifier(Plain(), spec(8)), Classifier(Plain(lambda x: 2 * x), spec(8))
    choice.choose(one, settings(runtime=runtime), digest="same")
    engine = choice.choose(other, settings(runtime=runtime), digest="same")
    expected = other.engine.run(pictures(3, 8))
    assert_allclose(engine.run(pictures(3, 8))[0], expected[0], rtol=1e-4)


def test_a_cache_that_cannot_be_written(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert chosen(Classifier(Plain(), spec(8)), runtime=runtime).runtime == runtime


def test_only_some_conversions_are_kept(cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model").write_text("")

    for number in range(kept.MOST):
        kept.save(f"m{number}", write)
        # The clock of the file system may be coarse.
        os.utime(cache / f"m{number}", (number, number))
    assert kept.find("m0") == cache / "m0"  # it has just been used
    kept.save("another", write)
    assert {path.name for path in cache.iterdir()} == {"m0", "another"} | {
        f"m{number}" for number in range(2, kept.MOST)
    }
    kept.save("another", write)  # by two processes at once: the first one's stays
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_a_module_compiled_by_torch_agrees() -> None:
    classifier = Classifier(Plain(), spec(8))
    engine = chosen(classifier, runtime="torch", compile=True)
    expected = classifier.engine.run(pictures(5, 8))
    for found, wanted in zip(engine.run(pictures(5, 8)), expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_settings_that_a_card_has_resolved() -> None:
    asked = settings()
    card = load(asked).card
    told = resolved(asked, card)
    assert (told.runtime, told.precision) == (card.runtime, card.precision)
    assert told.runtime != "auto"
    assert load(told).card == card


def test_spaces() -> None:
    card = load(settings(runtime="torch")).card
    spaces = {
        card.space,
        load(settings(runtime="torch", precision="bf16")).card.space,
        load(settings(runtime="torch", decode="fast")).card.space,
        load(
            settings(runtime="torch", preprocess={**SQUARE, "interpolation": "bicubic"})
        ).card.space,
        load(settings("other", runtime="torch")).card.space,
    }
    assert len(spaces) == 5
    assert load(settings(runtime="torch")).card.space == card.space
    assert len(card.space) == 16
    assert int(card.space, 16) >= 0


def other() -> nn.Module:
    network = Plain()
    network.head.weight.data += 1
    return network


@pytest.mark.parametrize(
    ("found", "wanted", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([-np.inf, 2.5], [-np.inf, 2.0], 0.25),
        ([np.inf, 2.0], [-np.inf, 2.0], np.inf),
        ([1.0], [1.0, 2.0], np.inf),
    ],
)
def test_distance(found: list[float], wanted: list[float], apart: float) -> None:
    assert choice.distance(np.array(found, "f4"), np.array(wanted, "f4")) == apart


def test_what_is_not_a_number_is_far() -> None:
    assert not choice.distance(np.array([np.nan], "f4"), np.array([1.0], "f4")) <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_agrees_with_the_processor(precision: str) -> None:
    classifier, images = Classifier(architecture("resnet18"), spec(64)), pictures(5, 64)
    expected = classifier.engine.run(images)
    there = Classifier(deepcopy(architecture("resnet18")), spec(64), device="cuda")
    there.engine = chosen(there, device="cuda", precision=precision)
    for found, wanted in zip(there.engine.run(images), expected, strict=True):
        assert choice.distance(found, wanted) < max(1e-3, choice.TOLERANCE[precision])
