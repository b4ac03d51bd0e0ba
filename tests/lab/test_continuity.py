# SPDX-License-Identifier: GPL-2.0-only
"""An agent that is killed, restarted, upgraded or doubled loses no event and resets no counter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lpttrace.abi import ABI_VERSION
from tests.lab.conftest import LabRun
from tests.lab.counts import Counts, counts_by_vcpu, metric_samples, shown_of, truth_of

LISTENING = "listening on http://127.0.0.1:9753/metrics\n"
GOES_ON = "counting goes on in the kernel; 'lpttrace unload' ends it\n"
AFRESH = "starting afresh, all counters begin at zero\n"


@pytest.fixture(scope="module")
def report(lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, Any]:
    done = lab(["--timeout", "1800"], ["python3", "/tmp/guest/continuity.py"])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def truths(step: dict[str, Any]) -> list[Counts]:
    return [truth_of(vcpu, True) for vm in step["truth"]["vms"] for vcpu in vm["vcpus"]]


def in_order(counts: list[Counts]) -> list[list[tuple[tuple[str, ...], int]]]:
    return sorted(sorted(vcpu.items()) for vcpu in counts)


@pytest.mark.parametrize("step", ["restarts", "descriptors"])
def test_no_trap_is_lost_over_kills_and_restarts(report: dict[str, Any], step: str) -> None:
    samples = metric_samples(report[step]["alive"])
    shown = list(counts_by_vcpu(samples).values())
    assert in_order(shown) == in_order(truths(report[step]))
    assert sum(sum(vcpu.values()) for vcpu in shown) > 10_000
    losses = [s for s in samples if s.startswith("lpttrace_lost_") or s.endswith("_slot_total")]
    assert losses and all(sample.value == 0 for name in losses for sample in samples[name])


@pytest.mark.parametrize("step", ["restarts", "descriptors"])
def test_an_lpt_update_without_an_agent_is_counted(report: dict[str, Any], step: str) -> None:
    # The VMs began between two agents; the kprobes are links, pinned or stored.
    samples = metric_samples(report[step]["alive"])
    by_result = {s.labels["result"]: s.value for s in samples["lpttrace_lpt_updates_total"]}
    published = [s for s in samples["lpttrace_lpt_updates_total"] if s.value]
    assert len(published) == 1 and published[0].labels["result"] == "published"
    assert set(by_result) == {"published", "einval", "efault", "error"}
    assert [s.value for s in samples["lpttrace_lpt_pv_frequency_hertz"]] == [100_000_000]
    asked = [s for s in samples["lpttrace_pv_time_questions_total"] if s.value]
    assert {s.labels["answer"] for s in asked} == {"granted", "refused"}


def test_histograms_add_up_to_their_counts(report: dict[str, Any]) -> None:
    samples = metric_samples(report["restarts"]["alive"])
    served: dict[tuple[str, str], float] = {}
    for sample in samples["lpttrace_hypercalls_served_total"]:
        key = sample.labels["vm"], sample.labels["function"]
        served[key] = served.get(key, 0) + sample.value
    timed = {
        (sample.labels["vm"], sample.labels["function"]): sample.value
        for sample in samples["lpttrace_hypercall_service_duration_seconds_count"]
    }
    assert timed == {key: count for key, count in served.items() if count}


def test_agents_end_as_they_were_told(report: dict[str, Any]) -> None:
    step = report["restarts"]
    assert step["statuses"] == [-9, -9, 0, -9, -9]
    assert step["said"] == [LISTENING, LISTENING + GOES_ON, LISTENING, LISTENING]
    assert step["ended"] == {"status": 0, "said": LISTENING + GOES_ON}


def test_top_beside_an_agent_reads_what_that_has_attached(report: dict[str, Any]) -> None:
    beside = report["restarts"]["beside"]
    assert beside["stderr"] == ""
    # Nothing was loaded or attached for it.
    assert beside["most"] == beside["before"] and beside["before"][0] > 5
    shown = [shown_of(vcpu) for vm in beside["frame"]["vms"] for vcpu in vm["vcpus"]]
    assert in_order(shown) == in_order(truths(report["restarts"]))


def test_top_beside_sees_vms_to_their_end(report: dict[str, Any]) -> None:
    step = report["command"]
    # stderr has what COMMAND says, and nothing else.
    assert step["status"] == 0 and "warning" not in step["stderr"]
    (vm,) = [vm for vm in step["frame"]["vms"] if len(vm["vcpus"]) == 3]
    counts = [vcpu["hypercalls"]["psci_version"]["count"] for vcpu in vm["vcpus"]]
    assert counts == [1013] * 3
    # The agent has buried it as always.
    label = vm["vm"]
    scraped = counts_by_vcpu(metric_samples(step["scraped"]))
    assert [scraped[label, n]["hypercall", "psci_version"] for n in range(3)] == counts


def test_the_second_agent_says_who_is_running(report: dict[str, Any]) -> None:
    step = report["two"]
    for refused in (step["second"], step["unload"]):
        assert refused["status"] == 1
        assert f"process {step['pid']} (" in refused["stderr"]
        assert "lpttrace serve) has; read its metrics, or stop it first" in refused["stderr"]
    assert step["status"] == 0


def test_what_cannot_be_gone_on_with_is_said(report: dict[str, Any]) -> None:
    before = "warning: the programs attached before"
    step = report["changes"]
    symbol = "kvm_update_lpt_time"
    assert step["size"].startswith(f"{before} are for 512 vCPUs and {symbol}: {AFRESH}")
    assert step["back"].startswith(f"{before} are for 64 vCPUs and {symbol}: {AFRESH}")
    layout = f"{before} have layout 1, this lpttrace has {ABI_VERSION}: {AFRESH}"
    assert step["layout"].startswith(layout)
    assert step["left"] == [f"v{ABI_VERSION}"]
    assert step["half"] == LISTENING + GOES_ON


def test_unload_removes_everything(report: dict[str, Any]) -> None:
    step = report["unloaded"]
    assert step["statuses"] == [0, 0]
    assert step["said"][0].startswith("removed ")
    assert step["said"][1] == "nothing is kept under /sys/fs/bpf/lpttrace\n"
    assert step["before"]["pins"] and step["before"]["kprobes"] > 5
    assert step["before"]["programs"] > step["after"]["programs"]
    assert (step["after"]["pins"], step["after"]["kprobes"]) == (False, 0)


def test_doctor_finds_what_is_left_attached(report: dict[str, Any]) -> None:
    lines = report["unloaded"]["doctor"].splitlines()
    (line,) = [line for line in lines if line.startswith("  no  agent ")]
    assert "no agent runs, but programs attached before go on counting" in line
    assert line.endswith("or end them: lpttrace unload")


def test_ctrl_c_leaves_nothing(report: dict[str, Any]) -> None:
    assert report["ctrl_c"] == {"status": 0, "pinned": True, "pins": False, "kprobes": 0}


def test_without_a_bpf_file_system_it_needs_somebody_to_hold_descriptors(
    report: dict[str, Any],
) -> None:
    step = report["descriptors"]
    assert "counting ends with this process (no bpf file system at /sys/fs/bpf)" in step["alone"]
    assert step["left_alone"] == 0
    afresh = f"are for 64 vCPUs and kvm_update_lpt_time: {AFRESH}"
    assert step["change"] == f"warning: the programs attached before {afresh}{LISTENING}"
    assert sorted(set(step["stored"])) == step["stored"]
    assert "about" in step["stored"] and "link_kvm_update_lpt_time" in step["stored"]
    assert step["statuses"] == [-9, -9, 0]
    assert step["left"] == 0
