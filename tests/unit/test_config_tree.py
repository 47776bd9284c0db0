"""The tree of settings: defaults, old keys, combinations that do not fit."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from alaas.config import FetchSettings, ModelSettings, Preprocessing, Settings, WorkerSettings
from alaas.config.listeners import listeners
from alaas.config.problems import problems

TLS = {"certificate": "cert.pem", "key": "key.pem"}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def refusals(model: type[BaseModel], given: dict[str, Any]) -> dict[str, str]:
    """Key to message of everything that is wrong with `given`."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return {".".join(one.path): one.message for one in problems(caught.value, model)}


def model(**given: Any) -> ModelSettings:
    return ModelSettings.model_validate(given)


def worker(**given: Any) -> WorkerSettings:
    return WorkerSettings.model_validate(given)


def ports(**given: Any) -> list[tuple[str, int, bool, tuple[str, ...]]]:
    return [(one.kind, one.port, one.tls, one.protocols) for one in worker(**given).listeners]


def test_settings_survive_a_round_trip() -> None:
    given = {
        "fetch": {"roots": "/data", "networks": ["10.0.0.0/8", "fd00::/8"]},
        "active_learning": {
            "strategy": {"model": {"kwargs": {"pretrained": False}}},
            "al_worker": {"protocol": ["https", "grpcs"], "tls": TLS},
        },
    }
    settings = Settings.model_validate(given)
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().name = "other"


def test_a_section_whose_keys_are_all_commented_out_keeps_its_defaults() -> None:
    assert Settings.model_validate({"limits": None, "fetch": None}) == Settings()


def test_library_calls_may_fetch_from_anywhere() -> None:
    anywhere = FetchSettings.anywhere()
    assert set(anywhere.schemes) == {"http", "https", "file", "s3", "gs"}
    assert anywhere.roots == (Path("/"),)
    assert anywhere.networks == (ip_network("0.0.0.0/0"), ip_network("::/0"))


def test_roots_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    fetch = FetchSettings.model_validate({"roots": "~/photos"})
    assert fetch.roots == (Path("/home/ada/photos"),)


def test_the_home_of_nobody_is_refused() -> None:
    found = refusals(Settings, {"fetch": {"roots": "~no-such-user-here/photos"}})
    assert found["fetch.roots"].startswith("must be a path")


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", 10, 10.5, True, None])
def test_a_network_is_written_as_cidr(network: Any) -> None:
    assert "such as 10.0.0.0/8" in refusals(FetchSettings, {"networks": [network]})["networks"]


@pytest.mark.parametrize("value", [True, 0, -1, 1.5, "three", None, [1]])
def test_a_union_is_refused_in_one_sentence(value: Any) -> None:
    message = refusals(ModelSettings, {"batch_size": value})["batch_size"]
    assert message.startswith("must be a whole number > 0 or 'auto', got ")


@pytest.mark.parametrize("value", [True, 0, -1.0, float("nan"), float("inf"), "soon"])
def test_seconds_are_finite_and_positive(value: Any) -> None:
    found = refusals(Settings, {"limits": {"read_s": value}})
    assert found["limits.read_s"].startswith("must be a number > 0 and <= 604800, got ")


class TestModel:
    @pytest.mark.parametrize("hub", ["pytorch/vision", "pytorch/vision:v0.10.0", "torchvision"])
    def test_old_names_of_torchvision(self, hub: str) -> None:
        assert model(hub=hub).hub == "torchvision"

    @pytest.mark.parametrize("hub", ["owner/repo:abc", "pytorch", "ONNX"])
    def test_other_hubs_are_refused(self, hub: str) -> None:
        message = refusals(ModelSettings, {"hub": hub})["hub"]
        assert message.startswith("must be torchvision, huggingface, timm, onnx, python, or owner/")
        assert message.endswith(f"got '{hub}'")

    @pytest.mark.parametrize(("pretrained", "weights"), [(True, "default"), (False, "none")])
    def test_pretrained_names_the_weights(self, pretrained: bool, weights: str) -> None:
        assert model(kwargs={"pretrained": pretrained}).weights == weights

    def test_weights_go_before_pretrained(self) -> None:
        assert model(weights="a.safetensors", kwargs={"pretrained": False}).weights[0] == "a"

    def test_other_keyword_arguments_are_refused_by_name(self) -> None:
        assert "kwargs.num_classes" in refusals(ModelSettings, {"kwargs": {"num_classes": 3}})

    @pytest.mark.parametrize("hub", ["huggingface/bert", "transformers", "sentence-transformers"])
    def test_the_hub_of_transformers_has_many_names(self, hub: str) -> None:
        assert model(hub=hub).hub == "huggingface"

    @pytest.mark.parametrize("key", ["tokenizer", "task"])
    def test_a_tokenizer_or_a_task_means_transformers(self, key: str) -> None:
        assert model(**{key: "bert"}).hub == "huggingface"
        refused = refusals(ModelSettings, {key: "bert", "hub": "torchvision"})[key]
        assert refused.startswith("has no meaning with hub torchvision")

    def test_code_of_a_hub_runs_only_where_both_are_named(self) -> None:
        repository = f"owner/repo:{'a' * 40}"
        assert "must be true" in refusals(ModelSettings, {"hub": repository})["allow_code"]
        assert model(hub=repository, allow_code=True).hub == repository
        given = {"hub": "huggingface", "name": "a/b", "allow_code": True}
        for revision in (None, "main", "a" * 39):
            assert "in full" in refusals(ModelSettings, {**given, "revision": revision})["revision"]
        assert model(**given, revision="a" * 40).allow_code

    def test_an_ensemble_has_checkpoints_and_nothing_else_has(self) -> None:
        for draws in ({"by": "ensemble"}, {"checkpoints": ["a.safetensors"]}):
            assert "checkpoints" in str(refusals(ModelSettings, {"draws": draws}))
        members = model(draws={"by": "ensemble", "checkpoints": "a.safetensors"}).draws.checkpoints
        assert members == ("a.safetensors",)

    def test_a_python_model_needs_its_preprocessing(self) -> None:
        given = {"hub": "python", "name": "zoo:build"}
        assert "is required" in refusals(ModelSettings, given)["preprocess"]
        assert model(**given, preprocess={"size": 32, **IMAGENET}).name == "zoo:build"

    @pytest.mark.parametrize("name", ["zoo", "zoo:", ":build"])
    def test_a_python_model_is_a_module_and_a_factory(self, name: str) -> None:
        assert (
            "'module:factory'" in refusals(ModelSettings, {"hub": "python", "name": name})["name"]
        )

    @pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
    def test_devices(self, device: str) -> None:
        assert model(device=device).device == device

    @pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cpu\n", "cuda:0 "])
    def test_other_devices_are_refused(self, device: str) -> None:
        assert "cuda:N" in refusals(ModelSettings, {"device": device})["device"]


class TestPreprocessing:
    def test_one_number_is_a_square(self) -> None:
        made = Preprocessing.model_validate({"size": 32, "resize": 40, **IMAGENET})
        assert (made.size, made.resize) == ((32, 32), 40)

    def test_two_numbers_are_height_and_width(self) -> None:
        made = Preprocessing.model_validate({"size": [32, 48], "resize": [40, 60], **IMAGENET})
        assert (made.size, made.resize) == ((32, 48), (40, 60))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("size", 0),
            ("size", True),
            ("size", [1, 2, 3]),
            ("resize", -1),
            ("mean", [0.5, 0.5]),
            ("mean", [0.5, 0.5, float("nan")]),
            ("std", [0.5, 0.5, 0]),
            ("std", [0.5, 0.5, True]),
            ("interpolation", "cubic"),
        ],
    )
    def test_what_cannot_be_computed_is_refused(self, key: str, value: Any) -> None:
        assert list(refusals(Preprocessing, {"size": 8, **IMAGENET, key: value})) == [key]


class TestListeners:
    def test_the_default_is_one(self) -> None:
        assert ports() == [("http", 8081, False, ("http",))]

    def test_websocket_shares_the_port_of_http(self) -> None:
        assert ports(protocol=["http", "websocket"]) == [("http", 8081, False, ("http", "ws"))]

    def test_a_single_port_counts_upwards(self) -> None:
        found = ports(protocol=["grpc", "ws", "http", "wss", "grpcs"], port=9000, tls=TLS)
        assert found == [
            ("grpc", 9000, False, ("grpc",)),
            ("http", 9001, False, ("ws", "http")),
            ("http", 9002, True, ("wss",)),
            ("grpc", 9003, True, ("grpcs",)),
        ]

    def test_a_list_gives_each_protocol_its_port(self) -> None:
        found = ports(protocol=["http", "ws", "grpc"], port=[80, 81, 82])
        assert [(kind, port) for kind, port, _, _ in found] == [
            ("http", 80),
            ("http", 81),
            ("grpc", 82),
        ]

    def test_a_list_may_name_a_shared_port_twice(self) -> None:
        assert ports(protocol=["http", "ws"], port=[80, 80]) == [
            ("http", 80, False, ("http", "ws"))
        ]

    @pytest.mark.parametrize(
        ("given", "key"),
        [
            ({"protocol": ["http", "grpc"], "port": [80, 80]}, "port"),
            ({"protocol": ["http", "https"], "port": [80, 80], "tls": TLS}, "port"),
            ({"protocol": ["http", "grpc", "ws"], "port": [80, 81]}, "port"),
            ({"protocol": ["http", "grpc"], "port": 65535}, "port"),
            ({"port": 0}, "port"),
            ({"port": [80, 65536]}, "port"),
            ({"port": []}, "port"),
            ({"protocol": []}, "protocol"),
            ({"protocol": "htpp"}, "protocol"),
            ({"protocol": "https"}, "protocol"),
            ({"protocol": ["http", "grpcs"]}, "protocol"),
            ({"tls": TLS}, "tls"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given: dict[str, Any], key: str) -> None:
        assert list(refusals(WorkerSettings, given)) == [key]

    @given(
        protocols=st.lists(
            st.sampled_from(["http", "https", "grpc", "grpcs", "ws", "wss"]), min_size=1
        ),
        port=st.integers(1, 65535 - 3),
    )
    def test_every_protocol_has_one_port_and_no_two_listeners_share_one(
        self, protocols: list[Any], port: int
    ) -> None:
        found = listeners(protocols, host="::", ports=[port])
        assert sorted(p for one in found for p in one.protocols) == sorted(set(protocols))
        assert [one.port for one in found] == list(range(port, port + len(found)))
