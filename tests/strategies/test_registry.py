"""Names, the catalogue, and hyper-parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from toys import toys

from alaas.core.errors import UnknownStrategy, ValidationFailed
from alaas.strategies import check_params, get, names, strategies, to_json


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("least_confidence", ["LeastConfidence", "least-confidence", "LEAST CONFIDENCE", "LC"]),
        ("margin_confidence", ["MarginConfidence", "MC", "Margin"]),
        ("ratio_confidence", ["RatioConfidence", "RC", "Ratio"]),
        ("entropy", ["EntropySampling", "entropy_sampling", "ES", "Entropy"]),
        ("random_sampling", ["RandomSampling", "RS", "Random"]),
        ("k_center_greedy", ["KCenterGreedy", "KCG", "KCenter", "CoreSetGreedy", "k-center"]),
    ],
)
def test_names_are_found_however_they_are_spelled(name: str, spellings: list[str]) -> None:
    assert {get(spelling).name for spelling in [name, *spellings]} == {name}


def test_the_catalogue_is_sorted_and_complete() -> None:
    listed = [strategy.name for strategy in strategies()]
    assert listed == sorted(listed)
    assert set(names()) == {n for s in strategies() for n in (s.name, *s.aliases)}
    assert list(names()) == sorted(names())
    assert {get(name).name for name in names()} == set(listed)


def test_a_wrong_name_is_answered_with_the_nearest_and_with_all() -> None:
    with pytest.raises(UnknownStrategy, match="did you mean 'least_confidence'") as caught:
        get("LeastConfidense")
    assert all(known.name in caught.value.detail for known in strategies())
    assert [error.pointer for error in caught.value.errors] == ["/parameters/strategy"]


@pytest.mark.parametrize("name", ["zzzzzz", "", "--", None])
def test_a_name_that_resembles_none_is_answered_with_all(name: Any) -> None:
    with pytest.raises(UnknownStrategy, match="; valid names are ") as caught:
        get(name)
    assert all(known.name in caught.value.detail for known in strategies())


def test_a_strategy_can_be_written_as_json() -> None:
    assert to_json(toys.get("LastClass")) == {
        "name": "last_class",
        "aliases": ["LastClass"],
        "family": "toys",
        "needs": ["probs"],
        "labelled": [],
        "optional": [],
        "cost": "O(N)",
        "paper": "Toy 2001",
        "params": {
            "power": {"type": "number", "default": 1.0, "minimum": 0.5, "maximum": 4},
            "rounds": {"type": "integer", "default": 1, "minimum": 1},
            "sign": {"type": "string", "default": "up", "choices": ["up", "down"]},
            "loud": {"type": "boolean", "default": False},
        },
        "summary": "The last class's probability, to a power.",
        "use": "Never.",
        "scales": True,
    }
    listed = json.loads(json.dumps([to_json(s) for s in strategies()]))
    assert [one["name"] for one in listed] == [s.name for s in strategies()]


def test_params_are_filled_in_and_cast() -> None:
    strategy = toys.get("last_class")
    defaults = {"power": 1.0, "rounds": 1, "sign": "up", "loud": False}
    assert check_params(strategy, None) == defaults
    filled = check_params(strategy, {"rounds": 3.0, "power": 2, "loud": True})
    assert filled == {"power": 2.0, "rounds": 3, "sign": "up", "loud": True}
    assert [type(value) for value in filled.values()] == [float, int, str, bool]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("power", 0.4, "must be a finite number >= 0.5 and <= 4, got 0.4"),
        ("power", 5, "must be a finite number >= 0.5 and <= 4, got 5"),
        ("power", True, "must be a finite number >= 0.5 and <= 4, got True"),
        ("power", float("nan"), "must be a finite number >= 0.5 and <= 4, got nan"),
        ("power", 10**400, "must be a finite number"),
        ("power", "2", "must be a finite number >= 0.5 and <= 4, got '2'"),
        ("power", None, "must be a finite number >= 0.5 and <= 4, got None"),
        ("rounds", 0, "must be a whole number >= 1, got 0"),
        ("rounds", 1.5, "must be a whole number >= 1, got 1.5"),
        ("rounds", True, "must be a whole number >= 1, got True"),
        ("sign", "left", "must be one of 'up', 'down', got 'left'"),
        ("sign", ["up"], r"must be one of 'up', 'down', got \['up'\]"),
        ("loud", 1, "must be true or false, got 1"),
        ("powr", 1, "is unknown; did you mean 'power'"),
        ("zz", 1, "is unknown: last_class has power, rounds, sign, loud, max_pool"),
    ],
)
def test_a_wrong_param_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(ValidationFailed, match=message) as caught:
        check_params(toys.get("last_class"), {name: value})
    assert [error.pointer for error in caught.value.errors] == [f"/parameters/params/{name}"]


def test_all_wrong_params_are_named_at_once() -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_params(toys.get("last_class"), {"power": 9, "rounds": 0, "a/b~c": 1})
    assert [error.pointer for error in caught.value.errors] == [
        "/parameters/params/power",
        "/parameters/params/rounds",
        "/parameters/params/a~1b~0c",
    ]


def test_params_are_an_object() -> None:
    with pytest.raises(ValidationFailed, match=r"must be an object, got \[1\]") as caught:
        check_params(toys.get("last_class"), [1])  # type: ignore[arg-type]
    assert [error.pointer for error in caught.value.errors] == ["/parameters/params"]


def test_a_strategy_without_params_has_those_of_all() -> None:
    with pytest.raises(ValidationFailed, match="is unknown: lottery has max_pool, sampling"):
        check_params(toys.get("lottery"), {"zzz": 1})
