# SPDX-License-Identifier: GPL-2.0-only
"""In the lab's machine: what a trap costs in the host's eyes and in its guest's, as JSON.

The guest reads its counter on both sides of each instruction; lpttrace is attached meanwhile.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from lpttrace.live import LiveSource
from lpttrace.quantiles import quantiles
from lpttrace.snapshot import Trap

COUNT = 2003
# Every function that KVM of 6.1 serves by itself without stopping the vCPU; a made-up one.
HYPERCALLS = {
    "smccc_version": "0x80000000",
    "smccc_arch_features": "0x80000001:0x80008000",
    "psci_version": "0x84000000",
    "psci_cpu_on": "0xc4000003",
    "psci_affinity_info": "0xc4000004",
    "psci_migrate_info_type": "0x84000006",
    "psci_features": "0x8400000a:0x84000003",
    "trng_version": "0x84000050",
    "trng_features": "0x84000051:0x84000053",
    "trng_get_uuid": "0x84000052",
    "trng_rnd32": "0x84000053:0x20",
    "trng_rnd64": "0xc4000053:0x40",
    "pv_time_features": "0xc5000020:0xc5000021",
    "pv_time_st": "0xc5000021",
    "pv_time_lpt": "0xc5000022",
    "vendor_hyp_call_uid": "0x8600ff01",
    "vendor_hyp_kvm_features": "0x86000000",
    "vendor_hyp_kvm_ptp": "0x86000001",
    "unknown": "0xc7000000",
}
ACCESSES = tuple(
    f"{way}:cntp_{register}_el0"
    for register in ("ctl", "cval", "tval")
    for way in ("read", "write")
)
VM = "vcpus=1,lpt=on,stolen=on"


def operations() -> list[str]:
    """The operations in labvmm's words, in the order of its report."""
    return [*(f"hvc:{number}" for number in HYPERCALLS.values()), *ACCESSES]


def labels() -> list[str]:
    """What lpttrace calls them."""
    ways = (access.split(":") for access in ACCESSES)
    return [*HYPERCALLS, *(f"{register} {way}" for way, register in ways)]


def unseen(counts: Mapping[str, int]) -> list[str]:
    """The operations of which fewer were counted than the guest did: their cost is not known."""
    return [label for label in labels() if counts.get(label, 0) < COUNT]


def row(label: str, trap: Trap, timing: dict[str, Any], empty_ns: float, tick_ns: float) -> Any:
    """Both sides of one operation, in ns."""
    middle = quantiles(trap.service)
    observed = timing["sum"] * tick_ns / timing["count"] - empty_ns
    return {
        "label": label,
        "count": timing["count"],
        "apart": trap.scheduled_out.count + trap.userspace.count,
        "service": trap.served.ns / max(trap.served.count, 1),
        "service_p50": middle.p50 if middle else None,
        "observed": observed,
    }


def main() -> None:
    ops = ",".join(f"{op}={COUNT}" for op in operations())
    with LiveSource() as source:
        command = ["taskset", "-c", "1", "labvmm", "--time-ops", "--vm", VM, "--ops", f"0.0:{ops}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        (vcpu,) = source.read().vcpus
    traps = {cls.label: trap for cls, trap in vcpu.traps.items()}
    if lost := unseen({label: trap.count for label, trap in traps.items()}):
        raise SystemExit(f"guest_side: lpttrace counted less than {COUNT} of {', '.join(lost)}")
    timings = json.loads(done.stdout)["vms"][0]["vcpus"][0]["timings"]
    tick_ns = 1e9 / timings["counter_freq"]
    empty = timings["empty"]
    empty_ns = empty["sum"] * tick_ns / empty["count"]
    # Not the few calls that the guest makes for itself.
    by_op = {operation_of(timing): timing for timing in timings["ops"] if timing["count"] == COUNT}
    rows = [
        row(label, traps[label], by_op[op], empty_ns, tick_ns)
        for label, op in zip(labels(), operations(), strict=True)
    ]
    print(json.dumps({"empty_ns": empty_ns, "rows": rows}))


def operation_of(timing: dict[str, Any]) -> str:
    """labvmm's words for the operation of a timing."""
    argument = timing["arg"]
    return str(timing["op"]) if argument in (None, "0x0") else f"{timing['op']}:{argument}"


if __name__ == "__main__":
    main()
