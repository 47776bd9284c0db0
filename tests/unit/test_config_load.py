"""The four sources of the configuration, and what it says of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alaas.config import ModelSettings, Settings, load
from alaas.core.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yml"))
PORT = "active_learning.al_worker.port"
PORT_VARIABLE = "ALAAS_ACTIVE_LEARNING__AL_WORKER__PORT"
CHOICES = {"active_learning.strategy.type": ["LeastConfidence", "k_center", "badge"]}
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "cfg.yml"
        path.write_text(text)
        return path

    return write


def lines(path: Path | None = None, **given: Any) -> list[str]:
    """The lines of the error, the file's folder left out."""
    with pytest.raises(ConfigError) as caught:
        load(path, **{"environ": {}, **given})
    folder = "" if path is None else f"{path.parent}/"
    return caught.value.detail.replace(folder, "").splitlines()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_example_is_loaded(path: Path) -> None:
    model = load(path, environ={}).settings.active_learning.strategy.model
    architecture, hub = {
        "resnet18": ("resnet18", "torchvision"),
        "upstream-resnet18": ("resnet18", "torchvision"),
        "distilbert-sst2": ("distilbert", "huggingface"),
        "upstream-distilbert": ("distilbert", "huggingface"),
    }[path.stem]
    assert architecture in model.name
    assert model.hub == hub


def test_there_are_examples() -> None:
    assert len(CONFIGS) == 4


def test_a_configuration_of_earlier_versions_keeps_its_meaning() -> None:
    path = next(path for path in CONFIGS if path.stem == "upstream-resnet18")
    settings = load(path, environ={}).settings
    model, worker = settings.active_learning.strategy.model, settings.active_learning.al_worker
    assert (settings.name, settings.version) == ("IMG_CLASSIFICATION", "0.1")
    assert (model.hub, model.weights, model.batch_size) == ("torchvision", "default", 1)
    assert (worker.protocol, worker.port, worker.replicas) == (("http",), (8081,), 1)


def test_a_configuration_for_texts_of_earlier_versions_keeps_its_meaning() -> None:
    path = next(path for path in CONFIGS if path.stem == "upstream-distilbert")
    settings = load(path, environ={}).settings
    model, worker = settings.active_learning.strategy.model, settings.active_learning.al_worker
    assert (model.tokenizer, model.task) == ("distilbert-base-uncased", "text-classification")
    assert (worker.protocol, worker.port) == (("grpc",), (60035,))


@pytest.mark.parametrize("key", ["tokenizer", "task"])
@pytest.mark.parametrize("hub", [None, "pytorch/vision:v0.10.0"])
def test_what_belongs_to_texts_makes_a_model_one_of_transformers(key: str, hub: str | None) -> None:
    asked = {"name": "m", key: "text-classification", **({"hub": hub} if hub else {})}
    assert ModelSettings.model_validate(asked).hub == "huggingface"
    assert ModelSettings.model_validate({**asked, key: None}).hub == "torchvision"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n", "{}\n"])
def test_an_empty_file_has_the_defaults(write: Write, text: str) -> None:
    assert load(write(text), environ={}).settings == Settings()


class TestPriority:
    def test_flags_then_environment_then_file_then_defaults(self, write: Write) -> None:
        file = write("active_learning: {al_worker: {port: 1}}")
        everything: dict[str, Any] = {"overrides": {PORT: 3}, "environ": {PORT_VARIABLE: "2"}}
        for port, origin, sources in [
            (3, "command line", {"path": file, **everything}),
            (2, "environment", {"path": file, "environ": {PORT_VARIABLE: "2"}}),
            (1, "file", {"path": file, "environ": {}}),
            (8081, "default", {"environ": {}}),
        ]:
            loaded = load(**sources)
            assert loaded.settings.active_learning.al_worker.port == (port,)
            assert loaded.origins[PORT] == origin

    def test_sources_are_merged_key_by_key(self, write: Write) -> None:
        file = write("log: {level: debug, format: json}")
        log = load(file, environ={"ALAAS_LOG__LEVEL": "error"}).settings.log
        assert (log.level, log.format) == ("error", "json")

    def test_a_flag_that_was_not_given_is_none(self) -> None:
        assert load(environ={}, overrides={PORT: None}).origins[PORT] == "default"

    def test_rows_show_every_value_with_its_origin(self, write: Write) -> None:
        preprocess = "{size: 8, mean: [0, 0, 0], std: [1, 1, 1]}"
        strategy = f"{{params: {{k: 3}}, model: {{preprocess: {preprocess}}}}}"
        file = write(f"active_learning: {{strategy: {strategy}}}")
        rows = {key: (value, origin) for key, value, origin in load(file, environ={}).rows()}
        above = "active_learning.strategy"
        assert rows[f"{above}.params"] == ({"k": 3}, "file")
        assert rows[f"{above}.model.preprocess.size"] == ((8, 8), "file")
        assert rows[f"{above}.model.preprocess.interpolation"] == ("bilinear", "default")
        assert rows["fetch.roots"] == ((), "default")

    def test_the_old_key_is_the_origin_of_the_weights_it_names(self, write: Write) -> None:
        file = write("active_learning: {strategy: {model: {kwargs: {pretrained: false}}}}")
        loaded = load(file, environ={})
        assert loaded.settings.active_learning.strategy.model.weights == "none"
        assert loaded.origins["active_learning.strategy.model.weights"] == "file"

    @given(st.integers(1, 65535), st.integers(1, 65535))
    def test_a_flag_goes_before_any_environment(self, flag: int, variable: int) -> None:
        loaded = load(environ={PORT_VARIABLE: str(variable)}, overrides={PORT: flag})
        assert loaded.settings.active_learning.al_worker.port == (flag,)


class TestEnvironment:
    def test_names_without_the_prefix_never_leak_in(self) -> None:
        environ = {"NAME": "x", "VERSION": "9", "LOG__LEVEL": "debug", "alaas_name": "x"}
        assert load(environ=environ).settings == Settings()

    @pytest.mark.parametrize(
        "name", ["ALAAS_TEST_DATA", "ALAAS_HOME", "ALAAS_PORT", "ALAAS_PORT_8081_TCP", "ALAAS_"]
    )
    def test_other_uses_of_the_prefix_do_no_harm(self, name: str) -> None:
        assert load(environ={name: "tcp://10.0.0.1:8081"}).settings == Settings()

    def test_values_are_yaml(self) -> None:
        environ = {
            "ALAAS_FETCH__ROOTS": "[/a, /b]",
            "ALAAS_FETCH__SCHEMES": "file",
            "ALAAS_LIMITS__READ_S": "1e-1",
            "ALAAS_LIMITS__QUERY_S": "null",
            "ALAAS_ACTIVE_LEARNING__STRATEGY__PARAMS": "{k: 3}",
        }
        settings = load(environ=environ).settings
        assert settings.fetch.roots == (Path("/a"), Path("/b"))
        assert settings.fetch.schemes == ("file",)
        assert (settings.limits.read_s, settings.limits.query_s) == (0.1, None)
        assert settings.active_learning.strategy.params == {"k": 3}

    def test_one_hyperparameter_of_the_strategy(self, write: Write) -> None:
        file = write("active_learning: {strategy: {params: {k: 3, seed: 1}}}")
        environ = {"ALAAS_ACTIVE_LEARNING__STRATEGY__PARAMS__K": "5"}
        params = load(file, environ=environ).settings.active_learning.strategy.params
        assert params == {"k": 5, "seed": 1}

    def test_an_empty_value_counts_as_unset(self) -> None:
        assert load(environ={PORT_VARIABLE: "", "ALAAS_NAME": ""}).settings == Settings()

    @pytest.mark.parametrize("text", ["1.10", "on", "007", "null", "2026-01-31", "[a"])
    def test_text_stays_as_it_is_written(self, text: str) -> None:
        assert load(environ={"ALAAS_VERSION": text}).settings.version == text

    @pytest.mark.parametrize(
        ("name", "rest"),
        [
            ("ALAAS_FETCH__ROTS", "unknown key; did you mean 'fetch.roots'?"),
            ("ALAAS_FECTH__ROOTS", "unknown key; did you mean 'fetch.roots'?"),
            ("ALAAS_FECTH__ROTS", "unknown key; did you mean 'fetch.roots'?"),
            ("ALAAS_LOG__LEVEL__X", "unknown key"),
            ("ALAAS_LOG_LEVEL", "unknown key; did you mean 'ALAAS_LOG__LEVEL'?"),
            ("ALAAS_LOG", "is a section of keys; set one, such as ALAAS_LOG__FORMAT"),
            (PORT_VARIABLE, "must be a whole number from 1 to 65535, or a list of such, got 'x'"),
        ],
    )
    def test_a_mistake_is_reported_under_the_variable(self, name: str, rest: str) -> None:
        assert lines(environ={name: "x"}) == [f"{name}: {rest}"]

    def test_a_value_that_is_no_yaml(self) -> None:
        (line,) = lines(environ={"ALAAS_LIMITS__READ_S": "["})
        assert line.startswith("ALAAS_LIMITS__READ_S: not valid YAML: ")


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "active_learning:\n  strategy:\n    modle: {}",
                "cfg.yml:3: active_learning.strategy.modle: unknown key; did you mean 'model'?",
            ),
            (
                "limits:\n\n  pixels: three",
                "cfg.yml:3: limits.pixels: must be a whole number > 0, got 'three'",
            ),
            (
                "log: {level: wraning}",
                "cfg.yml:1: log.level: must be one of 'debug', 'info', 'warning', 'error', "
                "got 'wraning'; did you mean 'warning'?",
            ),
            ("roots: [/a]", "cfg.yml:1: roots: unknown key; did you mean 'fetch.roots'?"),
            ("labels: {}", "cfg.yml:1: labels: unknown key"),
            ("? 'a\nb'\n: 1", "cfg.yml:1: a b: unknown key"),
            ('"a\\nb": 1', "cfg.yml:1: 'a\\nb': unknown key"),
            ("log: 5", "cfg.yml:1: log: must be a section of keys, got 5"),
            ("name: null", "cfg.yml:1: name: must be text that is not empty, got null"),
            ("- a", "cfg.yml: must be a mapping of keys, got ['a']"),
            ("a: 1\na: 2", "cfg.yml:2: the key 'a' is there twice"),
            ("a: !!python/name:os.system", "cfg.yml:1: the tag"),
            (
                "active_learning:\n  al_worker:\n    protocol: https",
                "cfg.yml:3: active_learning.al_worker.protocol: https needs 'tls'",
            ),
        ],
    )
    def test_one_line_says_where_and_what(self, write: Write, text: str, expected: str) -> None:
        (line,) = lines(write(text))
        assert line.startswith(expected)

    def test_several_mistakes_are_several_lines(self, write: Write) -> None:
        found = lines(
            write("log:\n  level: x\n  colour: red"),
            environ={"ALAAS_FETCH__ROTS": "x", "ALAAS_LIMITS__PIXELS": "-1"},
            overrides={"log.format": "xml", "log.levl": "info"},
        )
        assert [line.partition(": ")[0] for line in found] == [
            "ALAAS_FETCH__ROTS",
            "log.levl",
            "ALAAS_LIMITS__PIXELS",
            "log.format",
            "cfg.yml:2",
            "cfg.yml:3",
        ]

    def test_a_union_is_one_line(self, write: Write) -> None:
        found = lines(write("active_learning: {al_worker: {replicas: many}}"))
        assert found == [
            "cfg.yml:1: active_learning.al_worker.replicas: "
            "must be a whole number > 0 or 'auto', got 'many'"
        ]

    def test_a_wrong_section_is_not_hidden_by_the_environment(self, write: Write) -> None:
        (line,) = lines(write("log: 5"), environ={"ALAAS_LOG__LEVEL": "info"})
        assert line == "cfg.yml:1: log: must be a section of keys, got 5"

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"name: \x00"])
    def test_a_file_that_is_no_text(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "cfg.yml"
        path.write_bytes(content)
        assert lines(path)[0].startswith("cfg.yml: ")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert lines(tmp_path / "no.yml") == ["no.yml: cannot be read: No such file or directory"]

    @given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.none()), min_size=1))
    def test_every_unknown_key_has_a_line_of_its_own(
        self, tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Any]
    ) -> None:
        path = tmp_path_factory.mktemp("config") / "cfg.yml"
        path.write_text(yaml.safe_dump({f"?{key}": value for key, value in keys.items()}))
        assert len(lines(path)) == len(keys)


class TestNames:
    @pytest.mark.parametrize("name", ["LeastConfidence", "least_confidence", "K-Center", "BADGE"])
    def test_case_and_separators_do_not_matter(self, name: str) -> None:
        overrides = {"active_learning.strategy.type": name}
        loaded = load(environ={}, overrides=overrides, choices=CHOICES)
        assert loaded.settings.active_learning.strategy.type == name

    def test_the_nearest_name_is_offered(self, write: Write) -> None:
        file = write("active_learning:\n  strategy: {type: LeastConfidnce}")
        assert lines(file, choices=CHOICES) == [
            "cfg.yml:2: active_learning.strategy.type: "
            "unknown name 'LeastConfidnce'; did you mean 'LeastConfidence'?"
        ]

    def test_where_none_is_near_all_are_named(self, write: Write) -> None:
        (line,) = lines(write("active_learning: {strategy: {type: xyz}}"), choices=CHOICES)
        assert line.endswith("unknown name 'xyz'; valid are LeastConfidence, k_center, badge")


class TestFurtherModels:
    def test_each_is_a_section_like_the_default_one(self, write: Write) -> None:
        path = write(
            "active_learning:\n  strategy:\n    model: {name: resnet50}\n"
            "    models:\n      small: {name: resnet18, batch_size: 4}\n"
        )
        strategy = load(path, environ={}).settings.active_learning.strategy
        assert [*strategy.served] == ["default", "small"]
        assert strategy.served["default"].name == "resnet50"
        assert strategy.served["small"].batch_size == 4

    @pytest.mark.parametrize("empty", ["", "null", "{}"])
    def test_there_may_be_none(self, write: Write, empty: str) -> None:
        path = write(f"active_learning:\n  strategy:\n    models: {empty}\n")
        assert [*load(path, environ={}).settings.active_learning.strategy.served] == ["default"]

    @pytest.mark.parametrize(
        ("models", "said"),
        [
            ("{small: {nmae: resnet18}}", r"models\.small\.nmae: unknown key; did you mean 'name'"),
            ("{small: {batch_size: -1}}", r"models\.small\.batch_size: must be a whole number > 0"),
            ("{small: {hub: python}}", r"models\.small\.name: must be like 'module:factory'"),
            ("{small: 3}", r"models\.small: must be a mapping of names"),
            ("[small]", r"models: must be a mapping of names"),
            ("{default: {}}", r"models: must be no digest and not 'default'"),
            ("{0123456789abcdef: {}}", r"models: must be no digest and not 'default'"),
            ('{"a b": {}}', r"models: must be a mapping of names"),
        ],
    )
    def test_what_is_wrong_is_said_of_its_key(self, write: Write, models: str, said: str) -> None:
        path = write(f"active_learning:\n  strategy:\n    models: {models}\n")
        with pytest.raises(ConfigError, match=said):
            load(path, environ={})
