"""Messages of the gRPC contract say what JSON says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import NullValue, Struct, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wire import FLOATS, PARAMS, PROGRESS, PUSHES, RESPONSES, SOME, TEXT, WHOLE

from alaas.config import PushParameters, QueryParameters, parse_parameters
from alaas.core.wire import Item, Pick, Progress, PushResponse, QueryResponse, Receipt, Timings
from alaas.proto import convert, pools
from alaas.proto.alaas.v1 import active_learning_pb2 as pb

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
LABELLED = st.lists(
    st.one_of(
        st.fixed_dictionaries({"id": TEXT, "uri": TEXT.filter(bool)}),
        st.fixed_dictionaries({"id": TEXT, "text": TEXT.filter(bool), "label": TEXT}),
        st.fixed_dictionaries({"id": TEXT, "blob": st.just("AAEC"), "label": st.integers(0, 99)}),
        st.fixed_dictionaries({"id": TEXT, "uri": st.just("a"), "group": TEXT.filter(bool)}),
    ),
    min_size=1,
    max_size=3,
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "budget": st.integers(1, 2**53),
        "strategy": TEXT,
        "params": PARAMS,
        "seed": WHOLE,
        "n_drop": st.integers(1, 1000),
        "labelled": LABELLED,
        "calibrate": TEXT,
        "on_item_error": TEXT,
        "timeout_s": FLOATS,
        "model": TEXT,
        "cache": st.booleans(),
        "pool": TEXT,
    },
)
PUSH_PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "pool": TEXT,
        "ttl_s": FLOATS,
        "strategy": TEXT,
        "seed": WHOLE,
        "n_drop": st.integers(1, 1000),
        "on_item_error": TEXT,
        "timeout_s": FLOATS,
        "cache": st.booleans(),
    },
)


def sent(message: Any) -> Any:
    """The message as it is after its way over the network."""
    return type(message).FromString(message.SerializeToString())


@settings(deadline=None)
@given(RESPONSES)
def test_an_answer_is_that_of_json(response: QueryResponse) -> None:
    found = convert.response_from_message(sent(convert.response_to_message(response)))
    assert found == response == QueryResponse.from_json(response.to_json())


def test_bytes_are_not_sent_back() -> None:
    receipt = Receipt("entropy", {}, 0, 1, "m", "1", 2)
    response = QueryResponse([Pick("a", 0, 0.5, blob=b"pixels")], [], Timings(), receipt)
    message = convert.response_to_message(response)
    assert b"pixels" not in message.SerializeToString()
    assert convert.response_from_message(message).picks == (Pick("a", 0, 0.5),)


@settings(deadline=None)
@given(PROGRESS)
def test_progress(progress: Progress) -> None:
    assert convert.progress_from_message(sent(convert.progress_to_message(progress))) == progress


def test_no_total_is_not_a_total_of_none() -> None:
    for total in (None, 0):
        progress = Progress(0, 0, 0, total)
        assert convert.progress_from_message(convert.progress_to_message(progress)).total == total


@settings(deadline=None)
@given(
    st.one_of(
        st.builds(Item, id=SOME, uri=TEXT),
        st.builds(Item, id=SOME, text=TEXT),
        st.builds(Item, id=SOME, blob=st.binary(max_size=20)),
        st.builds(Item, id=SOME),
    )
)
def test_an_item(item: Item) -> None:
    assert convert.item_from_message(sent(convert.item_to_message(item)), 7) == item


def test_an_item_without_an_id_has_that_of_its_row() -> None:
    assert convert.item_from_message(pb.Item(uri="u"), 7) == Item("7", uri="u")


@settings(deadline=None)
@given(PARAMETERS)
def test_parameters_are_those_of_json(parameters: dict[str, Any]) -> None:
    found = convert.parameters_from_message(sent(convert.parameters_to_message(parameters)))
    if not parameters.get("params"):
        parameters.pop("params", None)
    assert found == parameters


@settings(deadline=None)
@given(PUSHES)
def test_a_push_is_that_of_json(response: PushResponse) -> None:
    message = sent(pools.response_to_message(response))
    assert pools.response_from_message(message) == response
    assert message.timings.bottleneck == response.timings.bottleneck


@settings(deadline=None)
@given(PUSH_PARAMETERS)
def test_parameters_of_a_push_are_those_of_json(parameters: dict[str, Any]) -> None:
    message = sent(pools.parameters_to_message({**parameters, "seed": parameters.get("seed")}))
    assert pools.parameters_from_message(message) == parameters


def test_every_parameter_has_its_field() -> None:
    assert set(QueryParameters.model_fields) == set(pb.Parameters.DESCRIPTOR.fields_by_name)
    assert set(PushParameters.model_fields) == set(pb.PushParameters.DESCRIPTOR.fields_by_name)


def test_what_stands_in_a_message_is_checked_as_json_is() -> None:
    message = convert.parameters_to_message({"budget": 3, "seed": None, "params": {"a": 1}})
    checked = parse_parameters(convert.parameters_from_message(sent(message)))
    assert checked == QueryParameters(budget=3, params={"a": 1})
    assert type(checked.budget) is int


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"budgets": 3}, ValueError),
        ({"budget": "3"}, TypeError),
        ({"seed": 2**63}, ValueError),
        ({"strategy": 3}, TypeError),
        ({"params": 3}, TypeError),
        ({"params": {"a": object()}}, ValueError),
    ],
)
def test_parameters_that_have_no_message(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        convert.parameters_to_message(wrong)


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_an_object(values: dict[str, Any]) -> None:
    assert convert.mapping(sent(convert.struct(values))) == values


def test_whole_numbers_come_back_as_ints() -> None:
    values = {"a": 3, "b": 3.0, "c": 3.5, "d": [1.0, {"e": -2.0}], "f": 2.0**60, "g": True}
    found = convert.mapping(sent(convert.struct(values)))
    assert found == values
    kinds = [type(found[key]) for key in "abcfg"]
    assert kinds == [int, int, float, int, bool]
    assert [type(found["d"][0]), type(found["d"][1]["e"])] == [int, int]


def test_what_json_has_no_number_for_is_left_to_who_reads_it() -> None:
    values = {"a": math.nan, "b": math.inf, "c": [-math.inf]}
    found = convert.mapping(sent(convert.struct(values)))
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (math.inf, [-math.inf])


def test_null_and_nothing_are_none() -> None:
    fields = {"a": Value(null_value=NullValue.NULL_VALUE), "b": Value()}
    assert convert.mapping(Struct(fields=fields)) == {"a": None, "b": None}
