"""Draws: what dropout makes of one network, against torch's own layers and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_models_classifier import Plain, pictures, spec
from torch import Tensor, nn

from alaas import strategies
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.stochastic.dropout import Pass
from alaas.models.stochastic.dropout import masked as dropping
from alaas.models.stochastic.masks import Masks


class Copy(nn.Module):
    """Hands on what it gets, as another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0


def network(*before_last: nn.Module) -> nn.Sequential:
    """A network with a normalisation, two places to drop, and three classes."""
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(),
        *before_last, nn.Linear(288, 3),
    )  # fmt: skip


def early() -> nn.Sequential:
    return network(nn.Dropout(0.4), nn.Tanh(), nn.Dropout(0.4))


def late() -> nn.Sequential:
    return network(nn.Dropout(0.5))


def draw(
    module: nn.Module | Classifier,
    n_drop: int = 10,
    *,
    count: int = 6,
    seed: int = 0,
) -> NDArray[Any]:
    classifier = module if isinstance(module, Classifier) else Classifier(module, spec(8))
    return classifier.views(pictures(count, 8), ("draws",), n_drop=n_drop, seed=seed)["draws"]


@pytest.mark.parametrize("build", [early, late])
@pytest.mark.parametrize("n_drop", [1, 2, 7])
def test_as_many_passes_as_asked_for_and_none_twice(build: Any, n_drop: int) -> None:
    found = draw(build(), n_drop)
    assert found.shape == (6, n_drop, 3)
    assert found.dtype == np.float32
    assert_allclose(found.sum(2), 1, rtol=1e-6)
    assert len({one.tobytes() for one in found.swapaxes(0, 1)}) == n_drop
    assert len({one.tobytes() for one in found[0]}) == n_drop
    # Nor is one of them the prediction without dropout.
    probs = Classifier(build(), spec(8)).views(pictures(6, 8), ("probs",))["probs"]
    assert (np.abs(found - probs[:, None]).max((0, 2)) > 1e-3).all()


@pytest.mark.parametrize("build", [early, late])
class TestSeed:
    def test_means_the_same_draws_bit_for_bit(self, build: Any) -> None:
        torch.manual_seed(1)
        first = draw(build(), seed=5)
        torch.manual_seed(2)
        assert (draw(build(), seed=5) == first).all()
        assert not np.isclose(draw(build(), seed=6), first).any(axis=2).any()

    def test_draws_more_of_the_same(self, build: Any) -> None:
        assert (draw(build(), 7)[:, :3] == draw(build(), 3)).all()

    def test_draws_the_same_networks_for_every_micro_batch(self, build: Any) -> None:
        classifier, images = Classifier(build(), spec(8)), pictures(7, 8)
        whole = classifier.views(images, ("draws",), seed=3)["draws"]
        for rows in (slice(0, 1), slice(1, 4), slice(4, 7)):
            part = classifier.views(images[rows], ("draws",), seed=3)["draws"]
            assert_allclose(part, whole[rows], rtol=1e-4)

    def test_an_item_that_comes_twice_gets_the_same_draws(self, build: Any) -> None:
        images = pictures(1, 8).repeat(3, axis=0)
        found = Classifier(build(), spec(8)).views(images, ("draws",))["draws"]
        assert_allclose(found, found[:1].repeat(3, axis=0), rtol=1e-5)

    def test_leaves_the_generator_of_torch_alone(self, build: Any) -> None:
        classifier = Classifier(build(), spec(8))
        before = torch.get_rng_state()
        draw(classifier)
        assert torch.equal(torch.get_rng_state(), before)


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_the_network_stays_as_it_is() -> None:
    classifier = Classifier(early(), spec(8))
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    probs = classifier.views(pictures(6, 8), ("probs",))["probs"]
    draw(classifier)
    after = classifier.network.state_dict()
    assert "1.running_mean" in before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(part.training for part in classifier.network.modules())
    assert hooks(classifier.network) == 0
    assert (classifier.views(pictures(6, 8), ("probs",))["probs"] == probs).all()


def test_the_network_stays_as_it_is_after_an_error() -> None:
    class Failing(Copy):
        broken = False

        def forward(self, x: Tensor) -> Tensor:
            if self.broken:
                raise RuntimeError("out of memory")
            return super().forward(x)

    failing = Failing()
    classifier = Classifier(network(nn.Dropout(0.5), failing), spec(8))
    wanted = draw(classifier)
    failing.broken = True
    with pytest.raises(RuntimeError, match="out of memory"):
        draw(classifier)
    assert hooks(classifier.network) == 0
    failing.broken = False
    assert (draw(classifier) == wanted).all()


def test_what_comes_before_the_only_dropout_runs_once() -> None:
    runs = []
    quick, slow = late(), network(nn.Dropout(0.5), Copy())
    for module in (quick, slow):
        module[0].register_forward_hook(lambda *_: runs.append(1))
    classifiers = [Classifier(module, spec(8)) for module in (quick, slow)]
    assert [one.source and one.source.last for one in classifiers] == [True, False]
    found = []
    for classifier, passes in zip(classifiers, (1, 10), strict=True):
        runs.clear()
        found.append(draw(classifier))
        assert len(runs) == passes
    assert_allclose(found[0], found[1], rtol=1e-6)
    runs.clear()
    together = classifiers[0].views(pictures(6, 8), ("probs", "embeddings", "draws"))
    assert len(runs) == 1
    assert (together["draws"] == found[0]).all()
    assert together["embeddings"].all()  # they are from before the dropout


class Halved(nn.Module):
    """What a temperature makes of logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def test_what_comes_after_the_head_runs_too() -> None:
    found = draw(nn.Sequential(late(), Halved()))
    assert (found == draw(nn.Sequential(network(nn.Dropout(0.5), Copy()), Halved()))).all()
    roots = np.sqrt(draw(late()))
    assert_allclose(found, roots / roots.sum(axis=2, keepdims=True), rtol=1e-4)


def test_a_head_that_does_not_read_what_was_dropped_is_not_given_it() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            self.dropout(x)
            return x

    # All passes would be the same one.
    assert "draws" not in Classifier(network(Aside()), spec(8)).provides
    with pytest.raises(ModelUnavailable, match="does not reach its output"):
        Classifier(network(Aside()), spec(8), drawing=DrawsSettings(p=0.2))


@pytest.mark.parametrize(
    "before_last",
    [(nn.Dropout(0.5), Copy()), (nn.Dropout(0.5),), (nn.Dropout(0.3), nn.Dropout(0.3))],
)
def test_moments_are_those_of_dropout(before_last: tuple[nn.Module, ...]) -> None:
    classifier = Classifier(network(*before_last), spec(8))
    T = 3000
    draws = draw(classifier, T, count=1)[0].astype(float)
    views = classifier.views(pictures(1, 8), ("probs", "embeddings", "head"))
    # Differences of logits are linear in what is dropped.
    odds, wanted = (np.log(p[..., 0] / p[..., 1]) for p in (draws, views["probs"]))
    weight = views["head"][0, :-1] - views["head"][1, :-1]
    kept = np.prod([1 - layer.p for layer in before_last if isinstance(layer, nn.Dropout)])
    variance = ((weight * views["embeddings"][0].astype(float)) ** 2).sum() * (1 - kept) / kept
    assert abs(odds.mean() - wanted[0]) < 4 * np.sqrt(variance / T)
    assert abs(odds.var() / variance - 1) < 4 * np.sqrt(2 / T)
    assert abs(np.corrcoef(odds[:-1], odds[1:])[0, 1]) < 4 / np.sqrt(T)


# Kind of layer to what it drops from an item, and what it drops there as one.
LAYERS = {
    nn.Dropout: ((5, 40), (5, 40)),
    nn.Dropout1d: ((200, 5), (200, 1)),
    nn.Dropout2d: ((200, 3, 4), (200, 1, 1)),
    nn.Dropout3d: ((200, 2, 3, 2), (200, 1, 1, 1)),
    nn.AlphaDropout: ((5, 40), (5, 40)),
    nn.FeatureAlphaDropout: ((200, 3, 2), (200, 1, 1)),
}


def masked(layer: Any, x: Tensor, rows: int, seed: int = 1) -> Tensor:
    with dropping({layer.eval(): layer.p}, Pass(rows, Masks(seed, 0))):
        found: Tensor = layer(x)
    return found


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_does_what_torch_does_in_training(kind: Any, p: float) -> None:
    torch.manual_seed(6)
    shape, together = LAYERS[kind]
    layer, x = kind(p), torch.randn(3, *shape)
    # In training an element becomes one of two numbers, one of which all share.
    trained = torch.stack([layer.train()(x) for _ in range(200)])
    either = torch.stack([trained.amin(0), trained.amax(0)])
    shared = trained.flatten().mode().values
    found = masked(layer, x, rows=3)
    assert found.isclose(either, atol=1e-6).any(dim=0).all()
    dropped = found.isclose(shared, atol=1e-6)
    assert (dropped == dropped[:1]).all()  # the same network for every item
    cells = dropped[0].reshape(*together, -1)
    assert (cells == cells[..., :1]).all()
    share, cells_count = float(cells.double().mean()), int(np.prod(together))
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / cells_count)
    assert not found.equal(masked(layer, x, rows=3, seed=2))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_that_drops_all(kind: Any) -> None:
    layer, x = kind(1.0), torch.randn(3, *LAYERS[kind][0])
    assert torch.equal(masked(layer, x, rows=3), layer.train()(x))


def test_windows_of_an_item_have_masks_of_their_own() -> None:
    found = masked(nn.Dropout(0.5), torch.ones(3 * 4, 50), rows=3).view(3, 4, 50)
    assert (found == found[:1]).all()
    assert len({one.numpy().tobytes() for one in found[0]}) == 4


def test_where_the_items_do_not_come_first_all_is_masked() -> None:
    found = masked(nn.Dropout(0.5), torch.ones(5, 3, 50), rows=3).view(15, 50)
    assert len({one.numpy().tobytes() for one in found}) == 15


def test_a_layer_that_runs_twice_has_two_masks() -> None:
    shared = nn.Dropout(0.5)
    with dropping({shared.eval(): 0.5}, Pass(1, Masks(0, 0))):
        first, second = shared(torch.ones(1, 99)), shared(input=torch.ones(1, 99))
    assert not torch.equal(first, second)


def test_a_layer_that_always_drops_is_drawn_like_the_others() -> None:
    class Always(nn.Dropout):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return nn.functional.dropout(input, self.p, training=True)

    torch.manual_seed(1)
    first = draw(network(Always(0.5)))
    torch.manual_seed(2)
    assert (first == draw(late())).all()


def test_a_network_may_change_its_input() -> None:
    def build(inplace: bool) -> nn.Module:
        return nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), early())

    assert (draw(build(inplace=True)) == draw(build(inplace=False))).all()


def test_fused_layers_drop_too() -> None:
    torch.manual_seed(5)
    block = nn.TransformerEncoderLayer(8, 2, 16, 0.5, batch_first=True)
    module = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Transposed(), block, Pooled())
    classifier = Classifier(nn.Sequential(module, nn.Linear(8, 3)), spec(8))
    assert len(classifier.parts.dropouts) == 3
    found = draw(classifier)
    assert len({one.tobytes() for one in found.swapaxes(0, 1)}) == 10


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class OnlyInTraining(nn.Module):
    """As the second classifier of GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x) if self.training else x


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Dropout(0.0), OnlyInTraining()])
def test_without_dropout_there_are_no_draws(layer: nn.Module) -> None:
    assert "draws" not in Classifier(network(layer), spec(8)).provides


def test_logits_that_are_not_finite_are_refused() -> None:
    def spoil(logits: Tensor) -> Tensor:
        logits[-1, 0] = torch.nan
        return logits

    classifier = Classifier(nn.Sequential(nn.Dropout2d(0.5), Plain(spoil)), spec(8))
    with pytest.raises(ModelOutputInvalid, match="the model's draws hold NaN or infinity"):
        draw(classifier)


def test_draws_tell_what_the_model_does_not_know() -> None:
    found = draw(early(), 20)
    ids = list("abcdef")
    assert min(strategies.run("bald", {"draws": found}, ids=ids, budget=6).scores) > 1e-3
    # Two copies of an item say the same of the model: one of them is enough.
    alone = strategies.run("bald", {"draws": found[:1]}, ids=ids[:1], budget=1)
    joint = strategies.run("batch_bald", {"draws": found[[0, 0]]}, ids=ids[:2], budget=2)
    assert_allclose(joint.scores[0], alone.scores[0], rtol=1e-4)
    assert joint.scores[1] < joint.scores[0]


@pytest.mark.gpu
@pytest.mark.parametrize("build", [early, late])
def test_draws_are_the_same_on_every_device(build: Any) -> None:
    classifier = Classifier(build(), spec(8), device="cuda")
    assert_allclose(draw(classifier), draw(build()), atol=1e-3)
