# SPDX-License-Identifier: GPL-2.0-only
"""The frames of `lpttrace top --json`: one document a frame. null means "cannot be known"."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Optional

from lpttrace.model import ClassFlow, Flow, Model, VcpuModel, VmModel
from lpttrace.model_flow import Change
from lpttrace.model_lpt import clock_errors
from lpttrace.render import counting_since, errno_name
from lpttrace.render_event import event_time, events_of
from lpttrace.render_json import account, lateness, quantiles, stolen, timer_interrupts
from lpttrace.snapshot import Event

__all__ = ["SCHEMA", "document", "encode"]

SCHEMA = 2


def encode(model: Model, vms: Iterable[VmModel], now: datetime, synthetic: bool = False) -> str:
    """The frame on one line, in ASCII, so that no name in it can do harm to a terminal."""
    return json.dumps(document(model, vms, now, synthetic), separators=(",", ":"))


def document(
    model: Model, vms: Iterable[VmModel], now: datetime, synthetic: bool = False
) -> dict[str, Any]:
    """The frame: since "counting_since", but for per_second, share and what is under "interval";
    times in seconds.

    vms are those of the model to show, in order; now is aware of its time zone.
    """
    shown = tuple(vms)
    since = counting_since(model, now)
    return {
        "schema": SCHEMA,
        **({"synthetic": True} if synthetic else {}),
        "time": _iso(now),
        "counting_since": _iso(since) if since else None,
        "interval_seconds": model.seconds,
        "counter_frequency_hertz": model.snapshot.counter_hz,
        "probes": {
            probe.name: {"attached": True}
            if probe.attached
            else {"attached": False, "reason": probe.reason}
            for probe in model.snapshot.probes
        },
        "losses": dict(model.snapshot.losses),
        "vms": [_vm(vm) for vm in shown],
        "events": [
            _event(vm, event, event_time(event, model, now))
            for vm, event in events_of(model, shown)
        ],
    }


def _iso(moment: datetime) -> str:
    utc = moment.astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _vm(vm: VmModel) -> dict[str, Any]:
    answers, calls = vm.time.answers, vm.counters.calls
    return {
        "vm": vm.guest.vm,
        "name": vm.guest.name,
        "pid": vm.guest.pid,
        "alive": vm.counters.alive,
        "lpt": _lpt(vm),
        "pv_time": None if answers is None else {q: asdict(a) for q, a in answers.items()},
        "attribute_calls": None if calls is None else {k: asdict(c) for k, c in calls.items()},
        "vcpus": [_vcpu(vcpu) for vcpu in vm.vcpus()],
    }


def _lpt(vm: VmModel) -> Optional[dict[str, Any]]:
    lpt = vm.counters.lpt
    if lpt is None:
        return None
    findings, told = vm.findings, asdict(lpt.structure) if lpt.structure else None
    reasons = [finding.reason for finding in findings]
    errors = clock_errors(lpt.structure, reasons) if lpt.structure else {}
    return {
        "state": vm.lpt_state,
        "updates": {result: account(updates) for result, updates in lpt.results.items()},
        "last_error": lpt.last_error,
        "last_error_name": errno_name(lpt.last_error) if lpt.last_error else None,
        "structure": None if findings else told,
        "wrong_structure": told if findings else None,
        "previous": asdict(lpt.previous) if lpt.previous else None,
        "scale_error_ppb": {way: float(error * 10**9) for way, error in errors.items()},
        "findings": [asdict(finding) for finding in findings],
    }


def _vcpu(vcpu: VcpuModel) -> dict[str, Any]:
    counters, classes = vcpu.counters, vcpu.classes()
    unknown = counters.last_unknown
    return {
        "vcpu": counters.vcpu,
        "tid": counters.tid,
        "unpaired": counters.unpaired,
        "last_unknown_function": None if unknown is None else f"0x{unknown:08x}",
        "hypercalls": _hypercalls(classes) if vcpu.hypercalls else None,
        "timer_traps": _timer_traps(classes) if vcpu.timer_traps else None,
        "timer_interrupts": timer_interrupts(vcpu.time),
        "lateness": lateness(vcpu.time),
        "stolen": stolen(vcpu.time),
    }


def _hypercalls(classes: Iterable[ClassFlow]) -> dict[str, Any]:
    return {c.trap.name: _flow(c.flow) for c in classes if c.trap.kind == "hypercall"}


def _timer_traps(classes: Iterable[ClassFlow]) -> dict[str, Any]:
    registers: dict[str, Any] = {}
    for c in classes:
        if c.trap.kind == "timer":
            registers.setdefault(c.trap.name, {})[c.trap.direction] = _flow(c.flow)
    return registers


def _flow(flow: Flow) -> dict[str, Any]:
    total = flow.total
    served = total.served
    return {
        "count": total.count,
        "per_second": flow.per_second,
        "served": account(served),
        "scheduled_out": account(total.scheduled_out),
        "userspace": account(total.userspace),
        "pending": total.pending,
        "mean_service_seconds": served.ns / served.count / 1e9 if served.count else None,
        "service": quantiles(flow.all_quantiles),
        "interval": _interval(flow, flow.change) if flow.change else None,
    }


def _interval(flow: Flow, change: Change) -> dict[str, Any]:
    return {
        "count": change.count,
        "served": account(change.served),
        "service": quantiles(flow.quantiles),
    }


def _event(vm: str, event: Event, moment: datetime) -> dict[str, Any]:
    told = {
        "time": _iso(moment),
        "vm": vm,
        "kind": event.kind,
        "error": event.error,
        "error_name": errno_name(event.error) if event.error else None,
    }
    if event.kind == "update":
        return {**told, "old_hz": event.old_hz or None, "new_hz": event.new_hz or None}
    return {
        **told,
        "group": event.group,
        "attribute": event.attribute,
        "value": event.value,
    }
