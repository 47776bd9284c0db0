"""Which of its models a server takes for a query."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_pipeline_engine import Toy

from alaas.core.errors import UnknownModel
from alaas.server.models import Models


def toy(name: str, digest: str, output: str = "softmax") -> Toy:
    made = Toy()
    made.card = replace(made.card, served_as=name, digest=digest, output=output)  # type: ignore[arg-type]
    return made


A, B, NOBODY = "a" * 16, "b" * 16, "0" * 16


@pytest.fixture
def models() -> Models:
    return Models(
        [toy("default", A), toy("small", B), toy("one", "c" * 16), toy("two", "c" * 16, "sigmoid")]
    )


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (None, "default"),
        ("", "default"),
        ("default", "default"),
        ("small", "small"),
        (A, "default"),
        (B, "small"),
    ],
)
def test_by_name_or_digest(models: Models, asked: str | None, served: str) -> None:
    assert models.find(asked).card.served_as == served


def test_a_receipt_of_a_model_that_is_gone_is_played_with_the_default_one(models: Models) -> None:
    assert models.find(NOBODY) is models.default


@pytest.mark.parametrize("asked", ["Small", "resnet18", NOBODY.upper() + "A", "../default"])
def test_another_name_is_refused_with_those_that_there_are(models: Models, asked: str) -> None:
    with pytest.raises(UnknownModel, match="there is default, small, one, two") as refused:
        models.find(asked)
    assert [error.pointer for error in refused.value.errors] == ["/parameters/model"]


def test_a_digest_of_several_is_refused_with_their_names(models: Models) -> None:
    with pytest.raises(UnknownModel, match="name one or two"):
        models.find("c" * 16)


def test_by_where_a_pool_was_computed(models: Models) -> None:
    assert models.of_space(models.find("two").card.space).card.served_as == "two"
    assert models.of_space("elsewhere") is models.default
