# SPDX-License-Identifier: GPL-2.0-only
"""Dashboards and rules as they are in the tree, and every query in them with its place."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "build" / "tools" / "usr" / "bin"
DASHBOARDS = tuple(sorted((REPOSITORY / "dashboards").glob("*.json")))
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"

_METRIC = re.compile(r"(?<![\w:])(?:[a-z_]+:)?lpttrace_\w+(?::\w+)?")


@dataclass(frozen=True)
class Query:
    """An expression, and the labels that its series are named by; place is the panel and its refId,
    or the annotation or rule."""

    source: str
    place: str
    expr: str
    named: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """How tests name it."""
        return f"{self.source}: {self.place}"


@dataclass(frozen=True)
class Rule:
    """A recording rule, or an alert."""

    name: str
    expr: str
    alert: bool
    annotations: dict[str, str]
    timer: str

    @property
    def place(self) -> tuple[str, str]:
        """Which it is: several rules may record one metric, each of another timer."""
        return "alert" if self.alert else "rule", f"{self.name} {self.timer}".strip()


def load(path: Path) -> dict[str, Any]:
    """A dashboard."""
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def labels_in(text: str) -> frozenset[str]:
    """Those of a name as Grafana makes it."""
    return frozenset(re.findall(r"{{(\w+)}}", text))


def panel_queries(path: Path) -> Iterator[Query]:
    """Of every panel of a dashboard."""
    for panel in load(path)["panels"]:
        for target in panel.get("targets", ()):
            place = f"{panel['title']} / {target['refId']}"
            named = labels_in(target.get("legendFormat", ""))
            yield Query(path.stem, place, target["expr"], named)


def annotation_queries(path: Path) -> Iterator[Query]:
    """What marks a dashboard's graphs."""
    for annotation in load(path)["annotations"]["list"]:
        named = labels_in(annotation["titleFormat"] + annotation["textFormat"])
        yield Query(path.stem, annotation["name"], annotation["target"]["expr"], named)


def variables(path: Path) -> Iterator[dict[str, Any]]:
    """Those of a dashboard that ask Prometheus."""
    return (v for v in load(path)["templating"]["list"] if v["type"] == "query")


def rules() -> tuple[Rule, ...]:
    """All of deploy/prometheus/rules, those that others use first."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"), reverse=True)
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return tuple(_rule(rule) for group in groups for rule in group["rules"])


def _rule(rule: dict[str, Any]) -> Rule:
    name = rule.get("alert") or rule["record"]
    timer = rule.get("labels", {}).get("timer", "")
    return Rule(name, rule["expr"], "alert" in rule, rule.get("annotations", {}), timer)


def metrics_in(text: str) -> set[str]:
    """Names of our metrics in an expression, recorded ones included."""
    return set(_METRIC.findall(text))


def recorded() -> dict[str, set[str]]:
    """Metrics of the catalogue behind each recorded series."""
    behind: dict[str, set[str]] = {}
    for rule in rules():
        if not rule.alert:
            # A rule may use what one before it records.
            names = metrics_in(rule.expr)
            known = behind.setdefault(rule.name, set())
            known.update(*(behind.get(name, {name}) for name in names))
    return behind


def promtool(*arguments: object) -> str:
    """What it prints, if it has nothing to complain about."""
    command = [str(TOOLS / "promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "FAILED" not in done.stdout and "WARNING" not in done.stdout
    return done.stdout
