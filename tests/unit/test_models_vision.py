"""Classifiers of torchvision: their preprocessing, their weights, and what can be wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import vision
from alaas.models.load import load

SMALL = "shufflenet_v2_x0_5"
PUBLISHED = torchvision.models.get_model_weights(SMALL).DEFAULT
EVERY_WEIGHTS = [
    pytest.param(weights, id=str(weights))
    for name in vision.names()
    for weights in torchvision.models.get_model_weights(name)
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions are not kept where the user's are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def settings(name: str = SMALL, weights: str | Path = "none", **rest: Any) -> ModelSettings:
    return ModelSettings(name=name, weights=str(weights), device="cpu", **rest)


def state(name: str = SMALL, seed: int = 3, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    network = torchvision.models.get_model(name, weights=None, **options)
    tensors: dict[str, Tensor] = network.state_dict()
    return tensors


def assert_loaded(path: Path | str, expected: dict[str, Tensor], **options: Any) -> None:
    loaded = load(settings(weights=path, **options)).classifier.network.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, empty, in which torch looks for weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("weights", EVERY_WEIGHTS)
def test_preprocessing_is_that_of_the_weights(weights: Any) -> None:
    asked, preset = vision._preset(weights), weights.transforms()
    assert (asked.size[0], asked.size[1]) == (preset.crop_size[0], preset.crop_size[-1])
    resize = preset.resize_size
    assert asked.resize == (resize[0] if len(resize) == 1 else tuple(resize))
    assert (asked.mean, asked.std) == (tuple(preset.mean), tuple(preset.std))
    assert asked.interpolation == preset.interpolation.value
    assert preset.antialias is not False  # Pillow, which decodes for us, always smooths


# Shapes without numbers are enough: the largest has 600 million. RegNets compute theirs.
@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("name", "device"),
    [(name, "meta") for name in vision.names() if not name.startswith("regnet")]
    + [("regnet_x_400mf", "cpu"), ("regnet_y_400mf", "cpu")],
)
def test_every_classifier_can_be_built(name: str, device: str) -> None:
    with torch.device(device):
        built = vision.build(settings(name))
        network, preprocessing, categories = built.network, built.inputs, built.categories
    assert preprocessing == vision._preset(torchvision.models.get_model_weights(name).DEFAULT)
    assert categories == ()
    assert network.get_parameter(f"{vision._head(network)}.weight").shape[0] == 1000


def test_every_published_file_names_its_hash() -> None:
    for name in vision.names():
        for weights in torchvision.models.get_model_weights(name):
            stem = Path(weights.url).stem
            assert re.fullmatch("[0-9a-f]{8,10}", stem.split("-")[-1]), stem


def test_weights_without_classes_have_no_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "_published", lambda *_: nn.Identity())
    assert vision.build(settings("vgg16", "IMAGENET1K_FEATURES")).categories == ()
    assert len(vision.build(settings("vgg16", "IMAGENET1K_V1")).categories) == 1000


def test_random_weights_are_the_same_every_time() -> None:
    torch.manual_seed(1)
    first = load(settings()).card
    torch.manual_seed(2)
    assert load(settings()).card == first
    assert first.classes == 1000
    assert first.categories == ()


def test_random_weights_are_the_same_in_another_process() -> None:
    program = (
        "from alaas.config import ModelSettings; from alaas.models.load import load;"
        f"print(load(ModelSettings(name={SMALL!r}, weights='none', device='cpu')).card.digest)"
    )
    other = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert other.stdout.decode().strip() == load(settings()).card.digest


def test_random_weights_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    vision.build(settings())
    assert torch.equal(torch.rand(3), expected)


class TestPublishedWeights:
    def test_are_read_from_the_folder_of_torch(self, checkpoints: Path) -> None:
        torch.save(state(), checkpoints / Path(PUBLISHED.url).name)
        for name in ("default", PUBLISHED.name):
            assert_loaded(name, state())
        card = load(settings(weights="default")).card
        assert card.categories == tuple(PUBLISHED.meta["categories"])
        assert card.weights == "default"
        assert card.preprocessing == vision._preset(PUBLISHED)

    def test_bring_their_own_preprocessing(self, checkpoints: Path) -> None:
        named = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
        torch.save(state("mobilenet_v2"), checkpoints / Path(named.url).name)
        found = vision.build(settings("mobilenet_v2", "IMAGENET1K_V1")).inputs
        assert found.resize == 256
        assert vision.build(settings("mobilenet_v2")).inputs.resize == 232

    def test_give_way_to_a_configured_preprocessing(self, checkpoints: Path) -> None:
        torch.save(state(), checkpoints / Path(PUBLISHED.url).name)
        own = {"size": 64, "mean": (0, 0, 0), "std": (1, 1, 1)}
        for weights in ("default", "none"):
            found = vision.build(settings(weights=weights, preprocess=own)).inputs
            assert (found.size, found.resize, found.std) == ((64, 64), None, (1, 1, 1))

    def test_that_carry_code_do_not_run_it(self, checkpoints: Path, tmp_path: Path) -> None:
        torch.save({"fc.weight": Bomb(tmp_path / "ran")}, checkpoints / Path(PUBLISHED.url).name)
        with pytest.raises(ModelUnavailable, match="does not hold the weights of"):
            load(settings(weights="default"))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"half a file"])
    def test_that_are_broken(self, checkpoints: Path, content: bytes) -> None:
        path = checkpoints / Path(PUBLISHED.url).name
        path.write_bytes(content)
        with pytest.raises(ModelUnavailable) as caught:
            load(settings(weights="default"))
        assert str(path) in caught.value.detail
        assert "\n" not in caught.value.detail

    def test_of_another_network(self, checkpoints: Path) -> None:
        torch.save(state("squeezenet1_1"), checkpoints / Path(PUBLISHED.url).name)
        with pytest.raises(ModelUnavailable, match=f"does not hold the weights of {SMALL}"):
            load(settings(weights="default"))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "ran")


class TestOwnFile:
    def test_of_any_form(self, tmp_path: Path) -> None:
        expected = state()
        save_file(expected, tmp_path / "w.safetensors")
        torch.save(expected, tmp_path / "w.pth")
        torch.save({"epoch": 3, "state_dict": expected}, tmp_path / "w.pt")
        torch.save({"model": expected}, tmp_path / "w.bin")
        torch.save(expected, tmp_path / "weights")
        for name in ("w.safetensors", "w.pth", "w.pt", "w.bin", "weights"):
            assert_loaded(tmp_path / name, expected)

    @pytest.mark.parametrize("name", [SMALL, "squeezenet1_1", "mobilenet_v3_small"])
    def test_has_as_many_classes_as_its_head(self, tmp_path: Path, name: str) -> None:
        torch.save(state(name, num_classes=10), tmp_path / "w.pth")
        card = load(settings(name, tmp_path / "w.pth")).card
        assert (card.classes, card.categories) == (10, ())
        assert card.weights == str(tmp_path / "w.pth")

    def test_may_be_named_from_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        torch.save(state(), tmp_path / "w.pth")
        assert_loaded("~/w.pth", state())

    def test_of_another_network(self, tmp_path: Path) -> None:
        torch.save(state("squeezenet1_1"), tmp_path / "w.pth")
        with pytest.raises(ModelUnavailable, match=r"holds no weights of .*: no fc.weight in it"):
            load(settings(weights=tmp_path / "w.pth"))

    def test_that_lacks_a_tensor(self, tmp_path: Path) -> None:
        tensors = state()
        del tensors["conv1.0.weight"]
        torch.save(tensors, tmp_path / "w.pth")
        with pytest.raises(ModelUnavailable) as caught:
            load(settings(weights=tmp_path / "w.pth"))
        expected = f"'{tmp_path}/w.pth' does not fit {SMALL}: Missing key(s) in state_dict: "
        assert caught.value.detail.startswith(expected + '"conv1.0.weight"')
        assert "\n" not in caught.value.detail

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable, match=r"there is no weights file '.*none\.pth'"):
            load(settings(weights=tmp_path / "none.pth"))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelUnavailable, match="no classifier 'resnt18'; did you mean 'resnet18'"):
        vision.build(settings("resnt18"))
    with pytest.raises(ModelUnavailable, match=r"no classifier 'Ω'$"):
        vision.build(settings("Ω"))


def test_models_of_other_tasks_are_no_classifiers() -> None:
    assert "resnet18" in vision.names()
    assert not {"fcn_resnet50", "fasterrcnn_resnet50_fpn", "r3d_18"} & set(vision.names())


def test_unknown_weights_list_those_that_there_are() -> None:
    with pytest.raises(ModelUnavailable) as caught:
        vision.build(settings("mobilenet_v2", "imagenet"))
    assert caught.value.detail == (
        "mobilenet_v2 has no weights 'imagenet'; it has IMAGENET1K_V1, IMAGENET1K_V2, "
        "and takes a path, `default` or `none`"
    )
