"""The configuration described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from alaas.config import Settings, describe, json_schema, load
from alaas.config.load import Loaded


def sections(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema["properties"]
    for section in schema["$defs"].values():
        yield section["properties"]


def test_every_key_is_described_in_one_line() -> None:
    for knob in describe():
        assert knob.help, knob.key
        assert "\n" not in knob.help, knob.key
        assert knob.type, knob.key


def test_every_key_of_a_loaded_configuration_is_described() -> None:
    loaded: Loaded = load(environ={})
    assert set(loaded.origins) <= {knob.key for knob in describe()}


def test_described_defaults_are_the_defaults() -> None:
    values = {key: value for key, value, _ in load(environ={}).rows()}
    for knob in describe():
        if knob.key in values:
            read = yaml.safe_load(knob.default) if knob.key != "version" else knob.default
            assert read == to_jsonable_python(values[knob.key]), knob.key


def test_the_json_schema_describes_every_key_and_allows_no_other() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for properties in sections(schema):
        assert all(one.get("description") for one in properties.values())
    assert all(one["additionalProperties"] is False for one in schema["$defs"].values())
    assert set(schema["properties"]) == set(Settings.model_fields)


def test_the_json_schema_allows_one_value_for_a_list() -> None:
    port = json_schema()["$defs"]["WorkerSettings"]["properties"]["port"]
    assert [one["type"] for one in port["anyOf"]] == ["integer", "array"]
