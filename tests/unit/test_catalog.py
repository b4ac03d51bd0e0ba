# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue keeps its promises: fixed names, naming rules, generated documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lpttrace import (
    abi,
    catalog,
    catalog_lpt,
    catalog_run,
    catalog_self,
    catalog_time,
    catalog_traps,
    plan,
)
from lpttrace.catalog import METRICS, Metric

DOCS = Path(__file__).resolve().parents[2] / "docs"

_NAME = re.compile(r"\blpttrace_\w*[a-z]\b")

FIXED = {
    "lpttrace_hypercalls_total": ("vm", "vcpu", "function"),
    "lpttrace_hypercall_service_seconds_total": ("vm", "vcpu", "function"),
    "lpttrace_timer_traps_total": ("vm", "vcpu", "register", "direction"),
    "lpttrace_timer_trap_service_seconds_total": ("vm", "vcpu", "register", "direction"),
    "lpttrace_lpt_updates_total": ("vm", "result"),
    "lpttrace_probe_attached": ("probe",),
    "lpttrace_hypercall_service_duration_seconds": ("vm", "function"),
    "lpttrace_timer_trap_service_duration_seconds": ("vm", "register", "direction"),
    "lpttrace_timer_lateness_seconds": ("vm",),
    "lpttrace_timer_interrupts_total": ("vm", "vcpu", "timer"),
    "lpttrace_timer_interrupts_overdue_total": ("vm", "vcpu", "timer"),
    "lpttrace_stolen_time_updates_total": ("vm", "vcpu"),
    "lpttrace_stolen_time_update_seconds_total": ("vm", "vcpu"),
    "lpttrace_stolen_seconds_total": ("vm", "vcpu"),
    "lpttrace_pv_time_questions_total": ("vm", "question", "answer"),
    "lpttrace_vm_attribute_calls_total": ("vm", "call", "result"),
    "lpttrace_lpt_wrong": ("vm", "reason"),
    "lpttrace_vm_vcpus": ("vm",),
}


def test_names_people_build_on_stay() -> None:
    labels = {metric.name: metric.labels for metric in METRICS}
    assert {name: labels[name] for name in FIXED} == FIXED
    assert labels["lpttrace_vm_info"][:5] == ("vm", "name", "pid", "uuid", "vmm")


def test_names_are_unique() -> None:
    assert len({metric.family for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_naming_rules(metric: Metric) -> None:
    assert re.fullmatch(r"lpttrace_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert metric.family.endswith(metric.unit)
    assert not metric.name.endswith(("_bucket", "_sum", "_count"))
    assert metric.help.endswith(".")
    assert (metric.kind == "histogram") <= (
        metric.unit == "seconds" and "vcpu" not in metric.labels
    )


def names_a_hook(metric: Metric, asked: tuple[str, ...] = ()) -> bool:
    """Whether its help names what is hooked, or another metric whose help does."""
    words = set(re.findall(r"\w+", metric.help))
    if words & {probe.target for probe in plan.PROBES}:
        return True
    others = [other for other in METRICS if other.name in words - {metric.name, *asked}]
    return any(names_a_hook(other, (*asked, metric.name)) for other in others)


@pytest.mark.parametrize("metric", [m for m in METRICS if m.probes], ids=lambda metric: metric.name)
def test_help_names_the_hook_that_is_counted(metric: Metric) -> None:
    assert names_a_hook(metric)


def test_no_label_is_one_that_prometheus_sets() -> None:
    assert not {"instance", "job"} & {label for metric in METRICS for label in metric.labels}


def test_every_loss_has_a_metric() -> None:
    counted = {field[0] for field in abi.Losses._fields_}
    assert set(catalog.LOSSES) == counted | {"torn", "gone_early"}


def test_probes_are_those_of_the_plan() -> None:
    known = {probe.name for probe in plan.PROBES}
    assert {probe for metric in METRICS for probe in metric.probes} <= known
    lpt = {probe.name for probe in plan.PROBES if probe.without == "LPT updates are not shown"}
    assert set(catalog.LPT_PROBES) == lpt


def test_update_results_are_those_of_the_abi() -> None:
    assert set(catalog.UPDATE_RESULTS) == set(abi.UPDATE_RESULTS) - {"nothing"}


def test_documentation_is_generated() -> None:
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == catalog.markdown()


def test_documentation_names_every_metric_and_no_other() -> None:
    documented = {name for line in catalog.markdown().splitlines() for name in _NAME.findall(line)}
    exposed = {metric.name for metric in METRICS}
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    assert documented - {f"{name}_bucket" for name in histograms} == exposed
    assert all(metric.name in catalog.plain() for metric in METRICS)


def test_every_part_is_in_the_catalogue() -> None:
    parts = (catalog_lpt, catalog_run, catalog_self, catalog_time, catalog_traps)
    exported = [name for part in parts for name in part.__all__ if name != "LOSSES"]
    assert {id(getattr(catalog, name)) for name in exported} == {id(metric) for metric in METRICS}


def test_label_values_are_those_of_the_abi() -> None:
    told = {name for metric in METRICS for name in re.findall(r"\((\w+), (\w+)\)", metric.help)}
    assert ("features_st", "features_lpt") in told and ("st", "lpt") in told
    assert abi.QUESTIONS == ("features_st", "features_lpt", "st", "lpt")
    for register in abi.REGISTERS:
        timer = abi.timer_of_register(register)
        matches = bool(re.fullmatch("cntp_.*_el0", register))
        assert matches == (timer == "physical"), "docs/metrics.md says so"
