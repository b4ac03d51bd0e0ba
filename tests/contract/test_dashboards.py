# SPDX-License-Identifier: GPL-2.0-only
"""Dashboards and rules name metrics of the catalogue, all of them, and say what cannot be seen."""

from __future__ import annotations

import re
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


def links_of(path: Path) -> list[str]:
    """Addresses of data links, those of single columns included."""
    found = []
    for panel in panels(path):
        config = panel["fieldConfig"]
        found += config["defaults"].get("links", ())
        for override in config["overrides"]:
            for it in override["properties"]:
                found += it["value"] if it["id"] == "links" else ()
    return [link["url"] for link in found]


def test_links_lead_from_hosts_to_vcpus() -> None:
    uids = {path.stem: load(path)["uid"] for path in DASHBOARDS}
    assert all(stem == uid for stem, uid in uids.items())
    links = {path.stem: links_of(path) for path in DASHBOARDS}
    ways = {(stem, url.split("?")[0]) for stem, urls in links.items() for url in urls}
    steps = ["lpttrace-fleet", "lpttrace-host", "lpttrace-vm", "lpttrace-vcpu"]
    assert ways == {(one, f"/d/{other}") for one, other in zip(steps, steps[1:])}
    for url in (url for urls in links.values() for url in urls):
        # The label is optional, and a link with what is not there would choose nothing.
        assert "labels.cluster" not in url and "${cluster:queryparam}" in url
        (board,) = (path for path in DASHBOARDS if path.stem == url.split("?")[0].split("/")[-1])
        names = {variable["name"] for variable in variables(board)}
        assert set(re.findall(r"var-(\w+)=", url)) | {"cluster"} == names


# What a query cannot be asked for, by a metric in it: it is not about VMs, or kept by VM, or there
# also for hosts that are down.
UNASKED = {"probe_attached": {"vm", "vcpu"}, "_bucket": {"vcpu"}, "ALERTS": {"release"}}


@BOARDS
def test_what_can_be_chosen_is_asked_for(path: Path) -> None:
    for query in panel_queries(path):
        unasked = set().union(*(names for it, names in UNASKED.items() if it in query.expr))
        for name in {variable["name"] for variable in variables(path)} - unasked:
            assert f"${name}" in query.expr, f"{query.id} asks for any {name}"
