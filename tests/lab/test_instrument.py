# SPDX-License-Identifier: GPL-2.0-only
"""Everything the programs count, under workloads made to break it: one boot, one attachment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.conftest import LabRun
from tests.lab.ops import FUNCTION_IDS

PHASES = ("hammer", "spray", "asked", "stolen", "timers", "crowd", "refused", "churn", "unreturned")
ENXIO, EEXIST, EINVAL = 6, 17, 22
IPA, FREQ, NONE = 0, 1, 2
NOT_SUPPORTED = -1


@pytest.fixture(scope="module")
def report(lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, Any]:
    options = ["--kernel", "lpt-6.1", "--timeout", "1500"]
    done = lab(options, ["python3", "/tmp/guest/instrument.py", *PHASES])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["warnings"] == []
    return result


def counts_of(vcpu: dict[str, Any]) -> dict[str, int]:
    return {label: trap["count"] for label, trap in vcpu["traps"].items()}


def truth_of(vcpu: dict[str, Any]) -> dict[str, int]:
    """What a guest vCPU counted itself, by label of class; ids that are not known come together."""
    counts = {FUNCTION_IDS[int(n, 16)]: call["count"] for n, call in vcpu["hypercalls"].items()}
    for register, ways in vcpu["timer"].items():
        if register.startswith("cntp_"):
            counts |= {f"{register} {way}": count for way, count in ways.items()}
    if vcpu["sprays"]:
        counts["unknown"] = sum(spray["calls"]["count"] for spray in vcpu["sprays"])
    return {label: count for label, count in counts.items() if count}


def truths(phase: dict[str, Any]) -> dict[int, dict[str, int]]:
    """By thread."""
    return {v["tid"]: truth_of(v) for vm in phase["truth"]["vms"] for v in vm["vcpus"]}


def seen(phase: dict[str, Any]) -> dict[int, dict[str, int]]:
    return {vcpu["tid"]: counts_of(vcpu) for vcpu in phase["seen"]["vcpus"]}


def test_a_reader_under_full_load_never_sees_a_count_without_its_sum(
    report: dict[str, Any],
) -> None:
    hammer = report["hammer"]
    assert hammer["status"] == 0
    assert hammer["readings"] >= 20
    assert hammer["wrong"] == []
    assert hammer["counts"]["psci_version"] == 4 * 20011
    assert hammer["counts"]["cntp_ctl_el0 read"] == 4 * 4001
    assert hammer["counts"]["cntp_cval_el0 write"] == 4 * 4003


def test_every_time_is_in_a_bucket(report: dict[str, Any]) -> None:
    for phase in ("spray", "asked", "stolen", "crowd", "refused"):
        for vcpu in report[phase]["seen"]["vcpus"]:
            for trap in vcpu["traps"].values():
                assert sum(trap["service"]) == trap["served"]["count"]


def test_a_guest_that_makes_ids_up(report: dict[str, Any]) -> None:
    phase = report["spray"]
    assert seen(phase) == truths(phase)
    (vcpu,) = phase["seen"]["vcpus"]
    assert counts_of(vcpu)["unknown"] == 1_000_003
    assert vcpu["last_unknown"] == 0xC7000000 + 1_000_002
    # 5,003 of these had random upper halves of x0.
    assert counts_of(vcpu)["psci_version"] == 5003 + 1009


def test_what_guests_ask_and_are_told(report: dict[str, Any]) -> None:
    phase = report["asked"]
    given, refused, _ = phase["truth"]["vms"]
    answers = {vcpu["tid"]: vcpu["answers"] for vcpu in phase["seen"]["vcpus"]}
    told = answers[given["vcpus"][0]["tid"]]
    assert {name: a["refused"] for name, a in told.items()} == dict.fromkeys(told, 0)
    assert told["lpt"]["last"] == int(given["lpt"]["ipa"], 16)
    assert told["st"]["last"] == int(given["stolen"]["vcpus"][0]["ipa"], 16)
    told = answers[refused["vcpus"][0]["tid"]]
    expected = {"features_lpt": 3, "lpt": 2, "features_st": 5, "st": 7}
    assert told == {
        name: {"asked": n, "refused": n, "last": NOT_SUPPORTED} for name, n in expected.items()
    }


def called(event: dict[str, Any]) -> tuple[str, int, int, int | None]:
    """What was done to which attribute, the errno and the value; a frequency has 4 bytes."""
    value = event["value"]
    if value is not None and event["attribute"] == FREQ:
        value &= 0xFFFFFFFF
    return event["kind"], event["attribute"], event["error"], value


def test_calls_about_attributes_and_updates_are_events(report: dict[str, Any]) -> None:
    phase = report["asked"]
    given, _, half = phase["truth"]["vms"]
    by_vm: dict[int, list[dict[str, Any]]] = {}
    for event in phase["seen"]["events"]:
        by_vm.setdefault(event["vm"]["index"], []).append(event)
    whole, part = sorted(by_vm.values(), key=len, reverse=True)
    ipa, freq = int(given["lpt"]["ipa"], 16), given["lpt"]["pv_freq"]
    assert [called(e) for e in whole if e["kind"] != "update"] == [
        ("has_attr", FREQ, 0, None),
        ("set_attr", FREQ, 0, freq),
        ("set_attr", IPA, 0, ipa),
        ("set_attr", FREQ, EEXIST, freq),
        ("set_attr", IPA, EEXIST, ipa),
        ("set_attr", NONE, ENXIO, 0),
        ("get_attr", NONE, ENXIO, 0),
        ("get_attr", FREQ, 0, freq),
        ("get_attr", IPA, 0, ipa),
    ]
    (vm,) = (vm for vm in phase["seen"]["vms"] if vm["index"] == whole[0]["vm"]["index"])
    assert vm["calls"] == {
        "set": {"done": 2, "failed": 3},
        "get": {"done": 2, "failed": 1},
        "has": {"done": 1, "failed": 0},
    }
    (update,) = (e for e in whole if e["kind"] == "update")
    assert (update["error"], update["old_hz"]) == (0, 0)
    assert update["new_hz"] == phase["seen"]["counter_hz"] == 62_500_000
    assert {e["error"] for e in part if e["kind"] == "update"} == {EINVAL}
    assert half["vcpus"][0]["run_errno"] == EINVAL


def test_stolen_time_is_what_the_scheduler_says(report: dict[str, Any]) -> None:
    phase = report["stolen"]
    for vcpu in phase["seen"]["vcpus"]:
        delay = phase["run_delay"][str(vcpu["tid"])]
        stolen = vcpu["stolen"]
        assert stolen["updates"]["count"] > 10
        assert stolen["updates"]["ns"] > 0
        # The last wait may be after the last update, or was before the guest asked.
        assert 0.9 * delay <= stolen["stolen_ns"] <= delay
        assert delay > 0


def test_an_interrupt_is_counted_once_however_often_its_line_is_looked_at(
    report: dict[str, Any],
) -> None:
    phase = report["timers"]
    by_thread = {vcpu["tid"]: vcpu for vcpu in phase["seen"]["vcpus"]}
    virtual, passed, ahead, again = (
        by_thread[vm["vcpus"][0]["tid"]] for vm in phase["truth"]["vms"]
    )
    assert fired(virtual) == {"virtual": (1, 0)} and virtual["lateness"]["count"] == 0
    assert fired(passed) == {"physical": (1, 1)} and passed["lateness"]["count"] == 0
    assert fired(ahead) == {"physical": (1, 0)} and ahead["lateness"]["count"] == 1
    assert fired(again) == {"physical": (2, 1)} and again["lateness"]["count"] == 1


def fired(vcpu: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Interrupts by timer: how many, and how many of them were overdue when the guest set them."""
    counts = vcpu["interrupts"].items()
    return {timer: (n["delivered"], n["overdue"]) for timer, n in counts if n["delivered"]}


def test_an_update_whose_end_was_not_seen_is_shown_and_told(report: dict[str, Any]) -> None:
    phase = report["unreturned"]
    (vm,), (truth,) = phase["seen"]["vms"], phase["truth"]["vms"]
    assert vm["lpt"]["structure"] == truth["lpt"]["structure"]
    assert (vm["lpt"]["results"], vm["lpt"]["nothing"], vm["findings"]) == ({}, 0, [])
    # Those of the phases before are there, too.
    update = phase["seen"]["events"][-1]
    assert (update["kind"], update["error"], update["new_hz"]) == ("update", 0, 62_500_000)
    assert update["vm"]["index"] == vm["index"]
    # A call of kvm_update_lpt_time by each vCPU, and two calls about attributes.
    assert phase["seen"]["losses"]["updates_untimed"] == 4
    assert phase["seen"]["losses"]["events"] == 2
    assert phase["open"] == []


def test_512_vcpus(report: dict[str, Any]) -> None:
    phase = report["crowd"]
    assert len(phase["seen"]["vcpus"]) == 512
    assert seen(phase) == truths(phase)
    # Torn readings, of phases before, lose nothing: the next reading has it all.
    losses = {name: n for name, n in phase["seen"]["losses"].items() if name != "torn"}
    assert not any(losses.values())


def test_more_vcpus_than_slots(report: dict[str, Any]) -> None:
    phase = report["refused"]
    counted, truth = seen(phase), truths(phase)
    assert len(counted) == 16
    assert counted.items() <= truth.items()
    losses = phase["seen"]["losses"]
    assert losses["no_slot"] == 24 - 16
    refused = [counts for tid, counts in truth.items() if tid not in counted]
    assert losses["hypercalls"] == sum(sum(counts.values()) for counts in refused)


def test_a_thousand_vms(report: dict[str, Any]) -> None:
    churn = report["churn"]
    assert churn["wrong"] == []
    truth = churn["truth"]["churn"]
    calls = sum(call["count"] for call in truth["hypercalls"].values())
    reads = truth["timer"]["cntp_ctl_el0"]["read"]
    assert churn["seen"] == {"vms": 1000, "gone": 1000, "traps": calls + reads}
    left = {"free_slots": 512, "tids": 0, "vcpus": 0, "kvms": 0, "events": 0}
    assert churn["left"] == left
