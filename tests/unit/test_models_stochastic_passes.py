"""The context managers for those who run their network themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

import alaas.models
from alaas.config import Vectors
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import mc_dropconnect, mc_dropout
from alaas.models.classifier import Classifier

X = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))


def network() -> nn.Sequential:
    torch.manual_seed(3)
    made = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Tanh(),
        nn.Sequential(nn.AlphaDropout(0.2), nn.Linear(8, 3)),
    )  # fmt: skip
    made(torch.randn(50, 6))  # its normalisation has seen something
    return made


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def different(found: list[Tensor]) -> int:
    return len({one.numpy().tobytes() for one in found})


@pytest.mark.parametrize(
    ("manager", "by"), [(mc_dropout, "dropout"), (mc_dropconnect, "dropconnect")]
)
class TestBoth:
    def test_passes_are_the_draws_of_the_service(self, manager: Any, by: Any) -> None:
        own = network()
        with manager(own, passes=7, seed=5) as passes:
            assert len(passes) == 7
            found = torch.stack([own(X).softmax(1) for _ in passes], dim=1)
        assert different(list(found.swapaxes(0, 1))) == 7
        classifier = Classifier(network(), Vectors(dim=6), drawing=DrawsSettings(by=by))
        wanted = classifier.views(X.numpy(), ("draws",), n_drop=7, seed=5)["draws"]
        assert_allclose(found, wanted, rtol=1e-5)

    def test_batches_within_a_pass_meet_the_same_network(self, manager: Any, by: Any) -> None:
        own = network()
        with manager(own, passes=4) as passes:
            parts = [torch.cat([own(X[:3]), own(X[3:4]), own(X[4:])]) for _ in passes]
            whole = [own(X) for _ in passes]
        for part, one in zip(parts, whole, strict=True):
            assert_allclose(part, one, rtol=1e-4, atol=1e-6)
        assert different(whole) == 4

    def test_outside_an_iteration_each_run_is_a_pass(self, manager: Any, by: Any) -> None:
        own = network()
        with manager(own, seed=2) as passes:
            found = [own(X) for _ in range(6)]
            assert passes.number == 5
        assert different(found) == 6
        with manager(own, seed=2, passes=6) as passes:
            again = [own(X) for _ in passes]
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))

    @pytest.mark.parametrize("fails", [False, True])
    def test_everything_is_as_it_was(self, manager: Any, by: Any, fails: bool) -> None:
        own = network().train()
        own[1].eval()  # as one does to keep statistics; it must not come back as training
        before = {name: one.clone() for name, one in own.state_dict().items()}
        modes = {name: one.training for name, one in own.named_modules()}
        assert len(set(modes.values())) == 2

        def run() -> None:
            with manager(own):
                assert not any(one.training for one in own.modules())
                own(X)
                if fails:
                    raise RuntimeError("out of memory")

        with pytest.raises(RuntimeError, match="out of memory") if fails else nullcontext():
            run()
        assert {name: one.training for name, one in own.named_modules()} == modes
        after = own.state_dict()
        assert all(torch.equal(after[name], one) for name, one in before.items())
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in own.modules())
        own.eval()
        assert torch.equal(own(X), network().eval()(X))

    def test_gradients_reach_what_is_trained(self, manager: Any, by: Any) -> None:
        own = network()
        with torch.enable_grad(), manager(own):
            own(X).sum().backward()
        assert own[0].weight.grad is not None
        assert own[0].weight.grad.abs().sum() > 0

    def test_wrong_layers_and_shares(self, manager: Any, by: Any) -> None:
        with (
            pytest.raises(ModelUnavailable, match="layer 'nonsense'"),
            manager(network(), layers=["nonsense"]),
        ):
            pass
        for p in (0, 1, -0.5):
            with pytest.raises(ValueError, match="above 0 and below 1"), manager(network(), p=p):
                pass
        with pytest.raises(ModelUnavailable, match="the model"), manager(nn.Tanh()):
            pass

    def test_one_name_stands_for_itself(self, manager: Any, by: Any) -> None:
        kind = {"dropout": "AlphaDropout", "dropconnect": "Linear"}[by]
        own = network()
        with manager(own, layers=[kind], seed=3):
            wanted = own(X)
        with manager(own, layers=kind, seed=3):
            assert torch.equal(own(X), wanted)

    @pytest.mark.parametrize("passes", [0, -1])
    def test_there_is_a_pass_at_least(self, manager: Any, by: Any, passes: int) -> None:
        with (
            pytest.raises(ValueError, match=f"passes must be 1 or more, got {passes}"),
            manager(network(), passes=passes),
        ):
            pass


def test_only_the_layers_that_are_named_drop() -> None:
    own = network()
    tanh: list[Tensor] = []
    own[3].register_forward_pre_hook(lambda _, given: tanh.append(given[0]))
    with mc_dropout(own, layers=["AlphaDropout"]):
        found = [own(X) for _ in range(5)]
    assert different(found) == 5
    assert different(tanh) == 1
    tanh.clear()
    with mc_dropout(own, layers=["2"]):
        found = [own(X) for _ in range(5)]
    assert different(tanh) == 5
    # A module stands for the layers in it.
    with mc_dropout(own, layers=["4"], seed=3), mc_dropout(network(), seed=3):
        inside = own(X)
    with mc_dropout(own, layers=["4.0"], seed=3):
        assert torch.equal(own(X), inside)


def test_the_share_can_be_another_one() -> None:
    layer = nn.Dropout(0.1)
    own, ones = nn.Sequential(layer), torch.ones(1, 100_000)
    with mc_dropout(own, p=0.7):
        found = own(ones)
    assert abs(float((found == 0).double().mean()) - 0.7) < 0.01
    assert_allclose(found.max(), 1 / 0.3, rtol=1e-6)
    assert layer.p == 0.1


def test_a_model_that_is_called_by_keyword() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, *, flag: bool, input_ids: Tensor) -> Tensor:
            made: Tensor = self.dropout(input_ids.float())
            return made

    own = Named()
    with mc_dropout(own) as passes:
        found = [own(flag=True, input_ids=torch.ones(5, 40)) for _ in passes]
    assert different(found) == 20
    assert all((one == one[:1]).all() for one in found)


def test_the_package_names_them_and_nothing_else() -> None:
    assert alaas.models.mc_dropout is mc_dropout
    with pytest.raises(AttributeError, match="has no attribute 'mc_dropouts'"):
        alaas.models.mc_dropouts  # noqa: B018
