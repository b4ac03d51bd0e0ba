# SPDX-License-Identifier: GPL-2.0-only
"""Frames for pipes: the same two snapshots, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from lpttrace import frame_json, frame_text
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.model_order import arrange
from lpttrace.printable import width
from lpttrace.render import age
from lpttrace.snapshot import LptUpdates, Snapshot, VmKey
from lpttrace.snapshot_upkeep import Upkeep
from tests.unit import timed

NOW = datetime(2026, 11, 22, 18, 0, 0, 123_456, timezone.utc)
ALL = frame_text.TextOptions(vcpus=True, classes=True, events=True)


@pytest.fixture
def before(before: Snapshot) -> Snapshot:
    """Where all can be seen."""
    return replace(before, probes=timed.probes())


@pytest.fixture
def after(after: Snapshot) -> Snapshot:
    """Where all can be seen."""
    return replace(after, probes=timed.probes())


@pytest.fixture
def stock(before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]) -> Model:
    """The same on a kernel without the LPT patches."""
    missing = {"kvm_update_lpt_time", "kvm_update_lpt_time_return"}
    reason = "this kernel has no function kvm_update_lpt_time, it lacks the LPT patches"
    probes = tuple(
        replace(p, attached=False, reason=reason) if p.name in missing else p for p in after.probes
    )
    vms = tuple(replace(vm, lpt=None) for vm in after.vms)
    return compare(tally(before), tally(replace(after, probes=probes, vms=vms)), guests)


def test_text(model: Model, golden: Callable[[str, str], None]) -> None:
    golden("top.txt", frame_text.frame(model, arrange(model.vms), NOW, ALL))


def test_text_of_timers_and_pvtime(golden: Callable[[str, str], None]) -> None:
    model = timed.timed()
    golden("top-time.txt", frame_text.frame(model, arrange(model.vms), NOW, ALL))


def test_text_where_little_can_be_seen() -> None:
    model = timed.blind("kvm_timer_update_irq", "kvm_update_stolen_time", "kvm_arch_vm_ioctl")
    text = frame_text.frame(model, model.vms, NOW, ALL)
    assert "timer interrupts, timer lateness: n/a: no kvm_timer_update_irq here" in text
    assert "stolen time: n/a: no kvm_update_stolen_time here" in text
    (row,) = (line for line in text.splitlines() if line.split()[:3] == ["100", "0", "101"])
    assert row.split()[-5:] == ["n/a", "n/a", "n/a", "0", "-"]
    assert "TRAP/IRQ TIME/IRQ" not in text
    without_traps = timed.blind("kvm_handle_sys_reg")
    text = frame_text.frame(without_traps, without_traps.vms, NOW, ALL)
    (cells,) = (line.split() for line in text.splitlines() if " physical " in line)
    assert cells == ["100", "0", "physical", "280", "240.0", "n/a", "n/a", "28"]


def test_a_wide_terminal_shows_more(model: Model) -> None:
    heads = []
    for columns in (80, 100, 120):
        options = frame_text.TextOptions(columns=columns)
        text = frame_text.frame(model, model.vms, NOW, options)
        assert max(width(line) for line in text.splitlines()) <= columns
        heads.append(text.splitlines()[3])
    assert ["MEAN" in head for head in heads] == [False, True, True]
    assert ["IRQ" in head for head in heads] == [False, False, True]


def test_alarms_are_in_every_frame() -> None:
    model = timed.timed()
    text = frame_text.frame(model, model.vms, NOW, frame_text.TextOptions())
    (alarm,) = (line for line in text.splitlines() if line.startswith("ALARM"))
    assert alarm.startswith("ALARM: LPT of 300: factor native_to_pv is off by")
    assert [line.split()[-1] for line in text.splitlines()[4:7]] == [
        "published",
        "refused",
        "wrong",
    ]


def test_a_wrong_structure_is_told_apart() -> None:
    model = timed.timed()
    good, wrong = (frame_json.document(model, [model.vms[n]], NOW)["vms"][0]["lpt"] for n in (0, 2))
    assert (good["structure"], good["wrong_structure"]) == (asdict(timed.STRUCTURE), None)
    assert (wrong["structure"], wrong["wrong_structure"]) == (None, asdict(timed.OFF))
    assert [finding["reason"] for finding in wrong["findings"]] == ["native_to_pv"]
    assert wrong["scale_error_ppb"]["native_to_pv"] == pytest.approx(15258.789)


def test_errors_of_factors_mean_nothing_where_more_is_wrong() -> None:
    snapshot, torn = timed.after(), LptUpdates(structure=replace(timed.OFF, sequence_number=3))
    vm = replace(snapshot.vms[0], lpt=torn)
    model = compare(None, tally(replace(snapshot, vms=(vm,))), timed.GUESTS)
    lpt = frame_json.document(model, model.vms, NOW)["vms"][0]["lpt"]
    assert (lpt["state"], lpt["structure"], lpt["scale_error_ppb"]) == ("wrong", None, {})
    assert [finding["reason"] for finding in lpt["findings"]] == ["sequence", "native_to_pv"]


def test_no_events() -> None:
    model = timed.timed()
    text = frame_text.frame(model, (), NOW, frame_text.TextOptions(events=True))
    assert "no LPT update and no call about a VM's attributes was seen" in text


def test_text_of_a_stock_kernel(stock: Model, golden: Callable[[str, str], None]) -> None:
    options = frame_text.TextOptions()
    golden("top-stock.txt", frame_text.frame(stock, arrange(stock.vms), NOW, options))


def test_default_table_fits_eighty_columns(model: Model) -> None:
    text = frame_text.frame(model, model.vms, NOW, frame_text.TextOptions())
    assert max(width(line) for line in text.splitlines()) <= 80
    assert all(line.isprintable() for line in text.splitlines())


def test_no_vms(before: Snapshot) -> None:
    model = compare(None, tally(replace(before, vms=(), vcpus=())), {})
    assert "0 VMs  0 vCPUs" in frame_text.frame(model, (), NOW, ALL)
    assert json.loads(frame_json.encode(model, (), NOW))["vms"] == []


def test_json(model: Model, golden: Callable[[str, str], None]) -> None:
    text = frame_json.encode(model, arrange(model.vms), NOW)
    assert "\n" not in text and text.isascii()
    golden("top.json", json.dumps(json.loads(text), indent=1) + "\n")


def test_json_of_timers_and_pvtime(golden: Callable[[str, str], None]) -> None:
    model = timed.timed()
    text = frame_json.encode(model, arrange(model.vms), NOW)
    golden("top-time.json", json.dumps(json.loads(text), indent=1) + "\n")


def test_json_says_null_for_times_that_cannot_be_seen() -> None:
    model = timed.blind(
        "kvm_timer_update_irq", "kvm_update_stolen_time", "kvm_hvc_arm64", "kvm_handle_sys_reg"
    )
    document = frame_json.document(model, model.vms, NOW)
    for vm in document["vms"]:
        assert vm["pv_time"] is None
        for vcpu in vm["vcpus"]:
            assert (vcpu["timer_interrupts"], vcpu["lateness"], vcpu["stolen"]) == (None,) * 3
    model = timed.blind("kvm_handle_sys_reg")
    (vcpu,) = frame_json.document(model, model.vms, NOW)["vms"][0]["vcpus"]
    assert vcpu["timer_interrupts"]["physical"]["traps_per_interrupt"] is None


def test_json_without_an_interval() -> None:
    model = compare(None, tally(timed.after()), timed.GUESTS)
    vm = frame_json.document(model, model.vms, NOW)["vms"][0]
    (vcpu,) = vm["vcpus"]
    write = vcpu["timer_traps"]["cntp_ctl_el0"]["write"]
    assert write["interval"] is None and write["service"]["p50_seconds"] > 0
    assert vcpu["timer_interrupts"]["physical"]["interval"] is None
    assert vcpu["stolen"]["share"] is None and vcpu["lateness"]["interval"] is None


def test_json_has_the_events_of_the_vms_shown() -> None:
    model = timed.timed()
    events = frame_json.document(model, model.vms[1:2], NOW)["events"]
    assert [(event["vm"], event["kind"]) for event in events] == [("200", "has_attr")]
    # Four seconds before the snapshot, which is of now.
    assert events[0]["time"] == "2026-11-22T17:59:56.123Z"


def test_json_keeps_names_as_they_are(model: Model, guests: Mapping[VmKey, Guest]) -> None:
    document = json.loads(frame_json.encode(model, model.vms, NOW))
    names = [vm["name"] for vm in document["vms"]]
    assert names == [guest.name for guest in guests.values()]


def test_json_says_null_for_what_cannot_be_seen(stock: Model) -> None:
    document = frame_json.document(stock, stock.vms, NOW)
    assert all(vm["lpt"] is None for vm in document["vms"])
    assert document["probes"]["kvm_update_lpt_time"]["attached"] is False
    assert "LPT patches" in document["probes"]["kvm_update_lpt_time"]["reason"]


def test_json_without_hypercalls(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    probes = tuple(replace(p, attached=p.name != "kvm_hvc_arm64") for p in after.probes)
    model = compare(None, tally(replace(after, probes=probes)), guests)
    document = frame_json.document(model, model.vms, NOW)
    vcpus = [vcpu for vm in document["vms"] for vcpu in vm["vcpus"]]
    assert all(vcpu["hypercalls"] is None for vcpu in vcpus)
    assert all(vcpu["timer_traps"] is not None for vcpu in vcpus)
    assert document["interval_seconds"] is None


def test_synthetic_is_said(model: Model) -> None:
    document: dict[str, Any] = frame_json.document(model, model.vms, NOW, synthetic=True)
    assert document["synthetic"] is True
    options = frame_text.TextOptions(title="synthetic")
    assert "synthetic" in frame_text.frame(model, model.vms, NOW, options).splitlines()[0]


def attached_before(model: Model, seconds: int) -> Model:
    """The same of probes that were attached so long before."""
    upkeep = Upkeep(7)
    snapshot = replace(model.snapshot, end_ns=7 + seconds * 10**9, upkeep=upkeep)
    return replace(model, snapshot=snapshot)


def test_it_is_said_since_when_totals_are(model: Model) -> None:
    """An agent may have attached the probes long before."""
    old = attached_before(model, 3 * 86400)
    text = frame_text.frame(old, old.vms, NOW, ALL)
    assert "probes 14/14 since 2026-11-19T18:00:00Z  losses" in text
    document = json.loads(frame_json.encode(old, old.vms, NOW))
    assert document["counting_since"] == "2026-11-19T18:00:00.123Z"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172799, "47 h"),
        (172800, "2 d"),
        (400 * 86400, "400 d"),
    ],
)
def test_how_long_ago(model: Model, seconds: int, said: str) -> None:
    assert age(attached_before(model, seconds)) == said
    assert age(model) == ""
