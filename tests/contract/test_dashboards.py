# SPDX-License-Identifier: GPL-2.0-only
"""Dashboards and rules name metrics of the catalogue, all of them, and say what cannot be seen."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from lpttrace.catalog import METRICS, Metric
from tests.contract.dashboards import (
    DASHBOARDS,
    annotation_queries,
    load,
    metrics_in,
    panel_queries,
    recorded,
    rules,
    variables,
)

# Metrics that no dashboard shows, each with the reason.
NOT_SHOWN: dict[str, str] = {}

BOARDS = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)

UNAVAILABLE = "not available on"


def wire_names(metric: Metric) -> set[str]:
    samples = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    return {metric.name + sample for sample in samples}


OF_WIRE = {name: metric for metric in METRICS for name in wire_names(metric)}


def all_metrics(path: Path) -> set[str]:
    queries = [*panel_queries(path), *annotation_queries(path)]
    texts = [query.expr for query in queries] + [v["query"] for v in variables(path)]
    return set().union(*map(metrics_in, texts))


def behind(names: set[str]) -> set[str]:
    of_rules = recorded()
    return set().union(*(of_rules.get(name, {name}) for name in names))


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in load(path)["panels"] if "targets" in panel]


def test_rules_name_metrics_that_exist() -> None:
    for rule in rules():
        assert behind(metrics_in(rule.expr)) <= set(OF_WIRE), rule.name


@BOARDS
def test_dashboards_name_metrics_that_exist(path: Path) -> None:
    assert behind(all_metrics(path)) <= set(OF_WIRE)


def test_every_metric_is_on_a_dashboard() -> None:
    shown = behind(set().union(*map(all_metrics, DASHBOARDS)))
    absent = {m.name for m in METRICS if not wire_names(m) & shown}
    assert absent == set(NOT_SHOWN)


def probes_of(panel: dict[str, Any]) -> set[str]:
    names = set().union(*(metrics_in(t["expr"]) for t in panel["targets"] if t["refId"] != "N"))
    return {probe for name in behind(names) for probe in OF_WIRE[name].probes}


@BOARDS
def test_panels_say_what_this_host_cannot_show(path: Path) -> None:
    """Graphs and numbers by a series of their own, which has a name and no points; tables and heat
    maps, where it would be data, by their text."""
    for panel in panels(path):
        probes = probes_of(panel)
        gone = [target for target in panel["targets"] if target["refId"] == "N"]
        if panel["type"] in ("timeseries", "stat"):
            assert len(gone) == bool(probes), panel["title"]
        elif probes:
            texts = panel["description"] + panel["fieldConfig"]["defaults"]["noValue"]
            assert UNAVAILABLE in texts, panel["title"]
        for target in gone:
            assert target["expr"].startswith("NaN * ") and "== 0" in target["expr"]
            assert f'probe=~"{"|".join(sorted(probes))}"' in target["expr"], panel["title"]
            assert target["legendFormat"].startswith(UNAVAILABLE)


@BOARDS
def test_descriptions_name_the_hook(path: Path) -> None:
    for panel in panels(path):
        if probes := probes_of(panel):
            hooks = {probe.removesuffix("_return") for probe in probes}
            assert any(hook in panel["description"] for hook in hooks), panel["title"]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@BOARDS
def test_panels_have_a_place_of_their_own(path: Path) -> None:
    every = load(path)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    titles = [panel["title"] for panel in panels(path)]
    assert len(set(titles)) == len(titles)
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(overlap(one, other) for one, other in combinations(places, 2))


def test_links_lead_to_dashboards_that_exist() -> None:
    uids = {path.stem: load(path)["uid"] for path in DASHBOARDS}
    assert all(stem == uid for stem, uid in uids.items())
    links = [
        link["url"]
        for path in DASHBOARDS
        for panel in panels(path)
        for link in panel["fieldConfig"]["defaults"].get("links", ())
    ]
    assert links and {link.split("?")[0] for link in links} <= {f"/d/{uid}" for uid in uids}
