"""The configuration described."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from alaas.config import Settings, describe, json_schema, load
from alaas.config.load import Loaded


def described(schema: dict[str, Any], name: str) -> bool:
    """Whether a property has a description, or the section that it refers to."""
    one = schema["properties"][name]
    return bool(one.get("description") or "$ref" in one)


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
    for section in (schema, *schema["$defs"].values()):
        assert section["description"]
        assert section["additionalProperties"] is False
        assert all(described(section, name) for name in section["properties"])
    assert set(schema["properties"]) == set(Settings.model_fields)


def test_the_json_schema_allows_one_value_for_a_list() -> None:
    port = json_schema()["$defs"]["WorkerSettings"]["properties"]["port"]
    assert [one["type"] for one in port["anyOf"]] == ["integer", "array"]
