# SPDX-License-Identifier: GPL-2.0-only
"""The frames of `lpttrace top --json`: one document a frame. null means "cannot be known"."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Optional

from lpttrace.model import ClassFlow, Flow, Model, VcpuModel, VmModel
from lpttrace.model_lpt import lpt_state
from lpttrace.render import errno_name
from lpttrace.snapshot import Account, LptUpdates

__all__ = ["SCHEMA", "document", "encode"]

SCHEMA = 1


def encode(model: Model, vms: Iterable[VmModel], now: datetime, synthetic: bool = False) -> str:
    """The frame on one line, in ASCII, so that no name in it can do harm to a terminal."""
    return json.dumps(document(model, vms, now, synthetic), separators=(",", ":"))


def document(
    model: Model, vms: Iterable[VmModel], now: datetime, synthetic: bool = False
) -> dict[str, Any]:
    """The frame: counts since attach, times in seconds, per_second of the interval.

    vms are those of the model to show, in order; now is aware of its time zone.
    """
    moment = now.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return {
        "schema": SCHEMA,
        **({"synthetic": True} if synthetic else {}),
        "time": moment.replace("+00:00", "Z"),
        "interval_seconds": model.seconds,
        "probes": {
            probe.name: {"attached": True}
            if probe.attached
            else {"attached": False, "reason": probe.reason}
            for probe in model.snapshot.probes
        },
        "losses": dict(model.snapshot.losses),
        "vms": [_vm(vm) for vm in vms],
    }


def _vm(vm: VmModel) -> dict[str, Any]:
    return {
        "vm": vm.guest.vm,
        "name": vm.guest.name,
        "pid": vm.guest.pid,
        "alive": vm.counters.alive,
        "lpt": _lpt(vm.counters.lpt),
        "vcpus": [_vcpu(vcpu) for vcpu in vm.vcpus()],
    }


def _lpt(lpt: Optional[LptUpdates]) -> Optional[dict[str, Any]]:
    if lpt is None:
        return None
    return {
        "state": lpt_state(lpt),
        "updates": {result: _account(account) for result, account in lpt.results.items()},
        "last_error": lpt.last_error,
        "last_error_name": errno_name(lpt.last_error) if lpt.last_error else None,
        "structure": asdict(lpt.structure) if lpt.structure else None,
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
        "served": _account(served),
        "scheduled_out": _account(total.scheduled_out),
        "userspace": _account(total.userspace),
        "pending": total.pending,
        "mean_service_seconds": served.ns / served.count / 1e9 if served.count else None,
    }


def _account(account: Account) -> dict[str, Any]:
    return {"count": account.count, "seconds": account.ns / 1e9}
