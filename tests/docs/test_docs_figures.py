"""The dashboard, the alerts and their containers: they ask for figures that the service has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, NamedTuple

import pytest
import yaml
from fences import ROOT

from alaas.config import Preprocessing, load
from alaas.core import errors
from alaas.core.wire import STAGES
from alaas.models.card import ModelCard
from alaas.server import scopes
from alaas.server.jobs import model
from alaas.server.metrics import BLOCKED, Metrics
from alaas.server.replicas import REASONS, STATES, Replicas

DOCKER = ROOT / "docker"
OBSERVE = yaml.safe_load((DOCKER / "compose.observe.yml").read_text())
BOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())[
    "groups"
][0]["rules"]
SPEC = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1))
FIGURES = Metrics(
    [ModelCard("m", "python", "none", "d", 2, (), 2, SPEC, ())],
    others=[Replicas(".")],
)
FUNCTIONS = {
    "sum", "max", "count", "rate", "increase", "histogram_quantile", "vector", "or",
}  # fmt: skip
OF_PROMETHEUS = {"job", "instance"}
ROUTES = {*scopes.ROUTES, "/ws", "/alaas.v1.ActiveLearning"}
CODES = {
    one.code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "code")
}
VALUES: dict[str, set[str]] = {
    "job": {"alaas"},
    "outcome": {"ranked", "failed"},
    "stage": {*STAGES, "admit", "select"},
    "state": {*STATES, *model.STATES},
    "reason": {*CODES, *BLOCKED, *REASONS},
    "route": ROUTES,
    "status": {"OK", "200", "500", "504", "4..", "5.."},
}


class Asked(NamedTuple):
    """One figure as an expression asks for it: its name, and label to the values it may have."""

    name: str
    labels: dict[str, list[str]]


def read(expression: str) -> tuple[list[Asked], set[str]]:
    """The figures of an expression, and the labels it groups by; what it does not know raises."""
    tokens = iter(re.findall(r'"[^"]*"|\[[^\]]*\]|[A-Za-z_]\w*|[\d.]+|[=!~<>]+|\S', expression))
    figures, groups, depth, before = list[Asked](), set[str](), 0, ""
    for token in tokens:
        if token in "()":
            depth += 1 if token == "(" else -1
            assert depth >= 0, expression
        elif token == "by":
            assert next(tokens) == "("
            while (label := next(tokens)) != ")":
                groups |= {label} - {","}
        elif token == "{":
            matchers = re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', _until_brace(tokens))
            assert matchers, expression
            for label, values in matchers:
                figures[-1].labels[label] = values.split("|")
        elif token[0].isalpha() and token not in FUNCTIONS:
            figures.append(Asked(token, {}))
        elif token[0] == "[":
            assert before != ")", expression
        before = token
    assert depth == 0, expression
    return figures, groups


def _until_brace(tokens: Iterator[str]) -> str:
    return "".join(takewhile(lambda token: token != "}", tokens))


def labels_of(name: str) -> set[str]:
    """The labels of a figure. Raises: KeyError: There is none of that name."""
    if name == "up":
        return OF_PROMETHEUS
    whole = re.sub("_(bucket|sum|count)$", "", name)
    more = {"le"} if name.endswith("_bucket") else set()
    found = FIGURES.labels[whole if whole in FIGURES.labels else name]
    kinds = {one.name: one.type for one in FIGURES.registry.collect()}
    assert (whole != name) == (kinds.get(whole) == "histogram"), name
    return {*found, *more, *OF_PROMETHEUS}


def expressions() -> list[str]:
    """Every expression of the dashboard and of the alerts."""
    shown = [
        target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())
    ]  # fmt: skip
    return [*shown, *(rule["expr"] for rule in RULES)]


@pytest.mark.parametrize("expression", expressions())
def test_expressions_ask_for_figures_that_exist(expression: str) -> None:
    figures, groups = read(expression)
    assert figures
    known = set[str]()
    for figure in figures:
        labels = labels_of(figure.name)
        known |= labels
        for label, values in figure.labels.items():
            assert label in labels
            assert set(values) <= VALUES[label]
    assert groups <= known


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(alaas_items[5m]))",
        "alaas_stage_busy_seconds_total",
        "rate(alaas_queue_wait_seconds[5m])",
        'alaas_replicas{status="ready"}',
        'alaas_replicas{state="alive"}',
        "sum by (code) (alaas_replicas)",
        "sum by (le) (rate(alaas_rejected_total[5m]))",
        "frob(alaas_replicas)",
        "sum(alaas_replicas",
    ],
)
def test_an_expression_that_is_wrong_is_found(expression: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        test_expressions_ask_for_figures_that_exist(expression)


def test_every_figure_is_on_the_dashboard() -> None:
    asked = {figure.name for panel in expressions() for figure in read(panel)[0]}
    whole = {re.sub("_(bucket|sum|count)$", "", name) for name in asked} | asked
    durations = {f"alaas_{kind}_request_duration_seconds" for kind in ("websocket", "grpc")}
    assert set(FIGURES.labels) - whole == durations | {"alaas_stage_bytes_total"}


def test_alerts_say_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "action"}
        groups = read(rule["expr"])[1] or OF_PROMETHEUS
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= groups


def test_panels_lie_beside_each_other() -> None:
    taken = [
        (column, line)
        for panel in BOARD["panels"]
        for at in [panel["gridPos"]]
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert all(panel["description"] for panel in BOARD["panels"] if panel["type"] != "row")
    assert {one["name"] for one in BOARD["templating"]["list"]} == {"datasource"}


def test_figures_get_from_one_container_to_the_other() -> None:
    services = OBSERVE["services"]
    port = services["alaas"]["environment"]["ALAAS_METRICS__PORT"]
    own = load(DOCKER / "config.yml", environ=services["alaas"]["environment"]).settings.metrics
    assert (own.host, str(own.port)) == ("0.0.0.0", port)
    scraping = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    assert job["job_name"] == "alaas"  # as the expressions say
    assert job["static_configs"] == [{"targets": [f"alaas:{port}"]}]
    assert [DOCKER / "prometheus" / name for name in scraping["rule_files"]] == [
        DOCKER / "prometheus" / "alerts.yml"
    ]
    source = yaml.safe_load((DOCKER / "grafana" / "datasource.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((DOCKER / "grafana" / "dashboards.yml").read_text())["providers"][0]
    shown = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert shown == f"{provider['options']['path']}/dashboard.json"


def test_nobody_from_outside_reaches_them() -> None:
    for service in OBSERVE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "ports" not in OBSERVE["services"]["alaas"]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_mounted_exists(name: str) -> None:
    service = OBSERVE["services"][name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    for volume in service["volumes"]:
        source = volume.partition(":")[0]
        assert (DOCKER / source).exists() or source in OBSERVE["volumes"]
