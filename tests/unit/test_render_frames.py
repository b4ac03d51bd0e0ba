# SPDX-License-Identifier: GPL-2.0-only
"""Frames for pipes: the same two snapshots, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from lpttrace import frame_json, frame_text
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.model_order import arrange
from lpttrace.render import width
from lpttrace.snapshot import Snapshot, VmKey

NOW = datetime(2026, 11, 22, 18, 0, 0, 123_456, timezone.utc)
ALL = frame_text.TextOptions(vcpus=True, classes=True)


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
