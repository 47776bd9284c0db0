"""DeepFool: distances that are known, a slow implementation of its own, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_models_classifier import Plain, pictures, spec
from torch import Tensor, nn

from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.margins import linear_margins, margins

FAR = 1e6


def inputs(count: int, size: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def linear(classes: int) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes)).requires_grad_(False)


def curved() -> nn.Module:
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 8), nn.SiLU(), nn.Linear(8, 4)
    )
    return module.eval().requires_grad_(False)


def borders(module: nn.Module, x: Tensor) -> Tensor:
    """(B, C) distances to the borders between the predicted class and each other one."""
    weight, logits = module.get_parameter("1.weight").double(), module(x).double()
    chosen = logits.argmax(dim=1)
    gaps = logits.gather(1, chosen[:, None]) - logits
    distances: Tensor = gaps / (weight[chosen][:, None] - weight).norm(dim=2)
    return distances.nan_to_num(nan=torch.inf)  # to itself


def test_on_a_linear_network_it_is_the_distance() -> None:
    module, x = linear(6), inputs(40)
    found = margins(module, x, farthest=FAR)
    assert found.shape == (40,)
    assert_allclose(found, borders(module, x).amin(dim=1), rtol=1e-4)


def test_it_is_the_distance_between_normalised_pixels() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    classifier, images = Classifier(module, spec(8)), pictures(20, 8)
    found = classifier.views(images, ("margins",))["margins"]
    assert found.dtype == np.float32
    with torch.no_grad():
        wanted = borders(module, classifier._input(images)).amin(dim=1)
    assert_allclose(found, wanted, rtol=1e-4)


def test_only_the_most_probable_classes_are_candidates() -> None:
    module, x = linear(30), inputs(40)
    distances, order = borders(module, x), module(x).argsort(dim=1, descending=True)
    for candidates in (2, 10, 30, 99):
        found = margins(module, x, farthest=FAR, candidates=candidates)
        assert_allclose(found, distances.gather(1, order[:, :candidates]).amin(dim=1), rtol=1e-4)
    assert_allclose(
        margins(module, x, farthest=FAR), margins(module, x, farthest=FAR, candidates=10)
    )
    assert (distances.amin(dim=1) < distances.gather(1, order[:, 1:2])[:, 0]).any()


class Ball(nn.Module):
    """One class within a distance of 5 from the origin, the other beyond."""

    def forward(self, x: Tensor) -> Tensor:
        inside = 25 - x.flatten(1).square().sum(dim=1)
        return torch.stack([inside, torch.zeros_like(inside)], dim=1)


def test_a_curved_border() -> None:
    x = torch.nn.functional.normalize(inputs(50).flatten(1)) * torch.linspace(1, 20, 50)[:, None]
    distance = (x.norm(dim=1) - 5).abs()
    found = margins(Ball(), x.view(-1, 3, 4, 4), farthest=FAR)
    # The last bit may be left to the overshoot. From outside, no step goes too far.
    assert (found >= distance / 1.02 * (1 - 1e-5)).all()
    assert (found <= distance * (1 + 1e-5))[x.norm(dim=1) > 5].all()


def deep_fool(module: nn.Module, x: Tensor, steps: int = 50) -> float:
    """One input at a time, by the whole Jacobian, in float64."""
    total = torch.zeros_like(x)
    label = int(module(x[None])[0].argmax())
    for _ in range(steps):
        point = x + 1.02 * total
        logits = module(point[None])[0]
        if int(logits.argmax()) != label:
            break
        jacobian = torch.func.jacrev(lambda p: module(p[None])[0])(point)
        best: tuple[float, Tensor] | None = None
        for other in range(len(logits)):
            if other != label:
                slope = jacobian[other] - jacobian[label]
                gap = float(logits[label] - logits[other])
                distance = gap / float(slope.norm())
                if best is None or distance < best[0]:
                    best = distance, slope * gap / slope.norm() ** 2
        assert best is not None
        total = total + best[1]
    return float(total.norm())


def test_it_is_what_a_slow_implementation_finds() -> None:
    module, x = curved().double(), inputs(25).double()
    wanted = [deep_fool(module, one) for one in x]
    assert_allclose(margins(module, x, farthest=FAR), wanted, rtol=1e-4)
    assert_allclose(margins(module.float(), x.float(), farthest=FAR), wanted, rtol=1e-2)
    short = margins(module.double(), x, farthest=FAR, steps=1)
    assert_allclose(short, [deep_fool(module, one, steps=1) for one in x], rtol=1e-4)
    assert (np.array(wanted) > short.numpy() * 1.001).any()  # some take several steps


def test_a_row_does_not_depend_on_the_others() -> None:
    module, x = curved(), inputs(12)
    together = margins(module, x, farthest=FAR)
    alone = torch.cat([margins(module, one[None], farthest=FAR) for one in x])
    assert_allclose(together, alone, rtol=1e-3)


class Counted(nn.Module):
    """Remembers how many rows it was run on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        logits: Tensor = self.inner(x)
        return logits


def test_rows_that_have_arrived_are_left_alone() -> None:
    module = Counted(linear(6))
    margins(module, inputs(9), farthest=FAR)
    assert module.rows == [9, 9, 9]  # the classes, the slopes, whether that was enough
    module = Counted(Ball())
    margins(module, torch.cat([inputs(5), inputs(4) * 0.01]), farthest=FAR)
    assert module.rows[0] == 9
    assert module.rows == sorted(module.rows, reverse=True)
    assert module.rows[-1] < 9


class Receding(nn.Module):
    """A border that is always one unit away."""

    def forward(self, x: Tensor) -> Tensor:
        gap = torch.exp(-x[:, 0, 0, 0])
        return torch.stack([gap, torch.zeros_like(gap)], dim=1)


def test_a_row_that_never_arrives_has_the_length_so_far() -> None:
    x = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    assert_allclose(margins(Receding(), x, farthest=FAR), [50, 50], rtol=1e-5)
    assert_allclose(margins(Receding(), x, farthest=FAR, steps=7), [7, 7], rtol=1e-5)
    assert_allclose(margins(Receding(), x, farthest=5.5), [5.5, 5.5])


class Flat(nn.Module):
    """Two classes whose logits depend on the input where it is positive only."""

    def forward(self, x: Tensor) -> Tensor:
        gap = 2 - x[:, 0, 0, 0].clamp(min=0)
        return torch.stack([gap, torch.zeros_like(gap)], dim=1)


def test_a_row_without_a_slope_is_farthest() -> None:
    x = torch.zeros(3, 3, 4, 4)
    x[:, 0, 0, 0] = torch.tensor([-1, 0.5, -2])
    assert_allclose(margins(Flat(), x, farthest=FAR), [FAR, 1.5, FAR])
    assert_allclose(margins(Flat(), x, farthest=1), [1, 1, 1])


def test_the_farthest_is_the_diameter_of_the_input() -> None:
    black, white = np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 255, np.uint8)
    module = nn.Sequential(nn.Threshold(99, 0), nn.Flatten(), nn.Linear(192, 3))
    classifier = Classifier(module, spec(8))
    found = classifier.views(pictures(2, 8), ("margins",))["margins"]
    diameter = (classifier._input(white) - classifier._input(black)).norm()
    assert_allclose(found, [diameter, diameter], rtol=1e-5)


def test_on_a_border_it_is_0() -> None:
    module = Counted(linear(3))
    module.inner.get_parameter("1.bias").zero_()
    assert margins(module, torch.zeros(2, 3, 4, 4), farthest=FAR).tolist() == [0, 0]
    assert module.rows == [2, 2]  # there is no further step to take


def test_one_class_cannot_be_left() -> None:
    assert margins(linear(1), inputs(3), farthest=FAR).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    def spoil(logits: Tensor) -> Tensor:
        logits[-1, 0] = bad
        return logits

    classifier = Classifier(Plain(spoil), spec(8))
    with pytest.raises(ModelOutputInvalid, match="the model's margins hold NaN or infinity"):
        classifier.views(pictures(3, 8), ("margins",))


def test_a_class_that_is_ruled_out_has_no_border() -> None:
    def rule_out(logits: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor([0]), -torch.inf)

    images = pictures(4, 8)
    with_it = Classifier(Plain(rule_out), spec(8)).views(images, ("margins",))["margins"]
    without = Classifier(Plain(lambda logits: logits[:, 1:]), spec(8)).views(images, ("margins",))
    assert_allclose(with_it, without["margins"], rtol=1e-5)


def detached(logits: Tensor) -> Tensor:
    return logits.detach()


def by_numpy(logits: Tensor) -> Tensor:
    return torch.from_numpy(logits.numpy() * 2)


class Opaque(torch.autograd.Function):
    """Has no backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        return logits.clone()


class Freed(torch.autograd.Function):
    """Frees on its way back what a second way would need, as what is compiled does."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        if torch._C._autograd._get_current_graph_task_keep_graph():
            raise RuntimeError("there is one way back only")
        return slope


def watched(logits: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        raise KeyError("gradients")
    return logits


@pytest.mark.parametrize(
    "after",
    [detached, by_numpy, Opaque.apply, Freed.apply, watched, torch.no_grad()(torch.exp)],
)
def test_a_network_without_gradients_has_no_margins_of_inputs(
    after: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(ModelUnavailable, match="need logits with a gradient there: it has none"):
        Classifier(Plain(after), spec(8), margins="input")


@pytest.mark.parametrize("after", [by_numpy, torch.no_grad()(torch.exp)])
def test_without_gradients_and_a_linear_layer_there_are_no_margins(
    after: Callable[[Tensor], Tensor],
) -> None:
    classifier = Classifier(Plain(after), spec(8))
    assert "margins" not in classifier.provides
    with pytest.raises(ModelUnavailable, match="this model has no view margins"):
        classifier.views(pictures(1, 8), ("margins",))


def test_a_network_may_change_its_input() -> None:
    def build(inplace: bool) -> nn.Module:
        return nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), curved())

    x = inputs(5)
    before = x.clone()
    found = margins(build(inplace=True), x, farthest=FAR)
    assert torch.equal(x, before)
    assert torch.equal(found, margins(build(inplace=False), x, farthest=FAR))
    assert "margins" in Classifier(build(inplace=True), spec(4)).provides


def test_the_network_stays_as_it_is() -> None:
    classifier = Classifier(nn.Sequential(nn.BatchNorm2d(3), Plain()), spec(8))
    before = classifier.digest()
    classifier.views(pictures(4, 8), ("margins",))
    assert classifier.digest() == before
    assert classifier.forward.entering is None  # nor is the graph kept
    assert not any(
        one.requires_grad or one.grad is not None for one in classifier.network.parameters()
    )


@pytest.mark.gpu
def test_margins_are_the_same_on_every_device() -> None:
    x = inputs(20)
    found = margins(curved().cuda(), x.cuda(), farthest=FAR).cpu()
    assert_allclose(found, margins(curved(), x, farthest=FAR), rtol=1e-2)


class TestOfEmbeddings:
    def test_they_are_distances_to_the_nearest_border(self) -> None:
        module, x = linear(6), inputs(40)
        weight = module.get_parameter("1.weight")
        found = linear_margins(module(x), weight)
        assert_allclose(found, borders(module, x).amin(dim=1), rtol=1e-5)
        # A step of that length, and no shorter one, changes the prediction.
        predicted = module(x).argmax(dim=1)
        features = x.flatten(1)
        nearest = borders(module, x).argmin(dim=1)
        way = weight[nearest] - weight[predicted]
        way = way / way.norm(dim=1, keepdim=True)
        for share, stays in ((0.999, True), (1.001, False)):
            moved = module[1](features + share * found[:, None] * way).argmax(dim=1)
            assert ((moved == predicted) == stays).all()

    def test_of_one_class_they_are_nothing(self) -> None:
        assert linear_margins(torch.randn(3, 1), torch.randn(1, 4)).tolist() == [0, 0, 0]

    def test_classes_with_equal_weights(self) -> None:
        weight = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
        logits = torch.tensor([[2.0, 2, 0], [2, 1, 0]])
        # On the border between the first two; and away from it, where no step leads across.
        assert_allclose(linear_margins(logits, weight), [0, 2 / 2**0.5])
        assert linear_margins(logits[1:, :2], weight[:2]).isinf().all()

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_what_is_not_finite_stays_so(self, bad: float) -> None:
        logits = torch.tensor([[1.0, bad, 0], [1, 2, 0]])
        found = linear_margins(logits, torch.eye(3))
        assert found.isnan().tolist() == [True, False]

    def test_a_classifier_says_which_it_takes(self) -> None:
        module, images = linear(6), pictures(5, 4)
        by_input = Classifier(module, spec(4)).views(images, ("margins",))["margins"]
        classifier = Classifier(module, spec(4), margins="embedding")
        found = classifier.views(images, ("margins",))["margins"]
        # Flattened pixels are the embedding here: the two are one and the same.
        assert_allclose(found, by_input, rtol=1e-4)
        with pytest.raises(ModelUnavailable, match="need a linear last layer"):
            Classifier(Plain(torch.exp), spec(8), margins="embedding")


def test_of_vectors_it_is_the_distance() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(7, 4)).requires_grad_(False)
    x = torch.randn(30, 7, generator=torch.Generator().manual_seed(1))
    found = margins(module, x, farthest=FAR)
    assert_allclose(found, linear_margins(module(x), module[0].weight), rtol=1e-4)


def test_of_vectors_through_a_curved_network_it_changes_the_prediction() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3)).requires_grad_(False)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    found = margins(module, x, farthest=FAR)
    labels = module(x).argmax(dim=1)
    angles = torch.linspace(0, 2 * torch.pi, 721)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    for point, length, label in zip(x, found, labels, strict=True):
        # Nothing changes well within the length, something at a little more than it.
        assert (module(point + 0.2 * length * ring).argmax(dim=1) == label).all()
        assert (module(point + 1.1 * length * ring).argmax(dim=1) != label).any()
