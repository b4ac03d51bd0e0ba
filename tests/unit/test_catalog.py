# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue keeps its promises: fixed names, naming rules, generated documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lpttrace import abi, catalog, plan
from lpttrace.catalog import METRICS, Metric

DOCS = Path(__file__).resolve().parents[2] / "docs"

FIXED = {
    "lpttrace_hypercalls_total": ("vm", "vcpu", "function"),
    "lpttrace_hypercall_service_seconds_total": ("vm", "vcpu", "function"),
    "lpttrace_timer_traps_total": ("vm", "vcpu", "register", "direction"),
    "lpttrace_timer_trap_service_seconds_total": ("vm", "vcpu", "register", "direction"),
    "lpttrace_lpt_updates_total": ("vm", "result"),
    "lpttrace_probe_attached": ("probe",),
}


def test_names_people_build_on_stay() -> None:
    labels = {metric.name: metric.labels for metric in METRICS}
    assert {name: labels[name] for name in FIXED} == FIXED
    assert labels["lpttrace_vm_info"][:3] == ("vm", "name", "pid")


def test_names_are_unique() -> None:
    assert len({metric.family for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_naming_rules(metric: Metric) -> None:
    assert re.fullmatch(r"lpttrace_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert metric.family.endswith(metric.unit)
    assert metric.help.endswith(".") or metric.help.endswith("--max-vcpus.")


def test_every_loss_has_a_metric() -> None:
    counted = {field[0] for field in abi.Losses._fields_}
    assert set(catalog.LOSSES) == counted | {"torn"}


def test_probes_are_those_of_the_plan() -> None:
    known = {probe.name for probe in plan.PROBES}
    assert {probe for metric in METRICS for probe in metric.probes} <= known
    lpt = {probe.name for probe in plan.PROBES if probe.without == "LPT updates are not shown"}
    assert set(catalog.LPT_PROBES) == lpt


def test_update_results_are_those_of_the_abi() -> None:
    assert set(catalog.UPDATE_RESULTS) == set(abi.UPDATE_RESULTS) - {"nothing"}


def test_documentation_is_generated() -> None:
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == catalog.markdown()
