# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: one attached LiveSource under many workloads, all it saw as JSON.

Usage: instrument.py PHASE... with the phases of PHASES below, or
instrument.py migrate [--keep] LABVMM_ARGUMENTS...
instrument.py restore STATE...
Standard library and lpttrace only.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from lpttrace.abi import BUCKET_BOUNDS
from lpttrace.guests import Guests
from lpttrace.live import LiveOptions, LiveSource
from lpttrace.maps import keys
from lpttrace.model_lpt import audit
from lpttrace.snapshot import Snapshot, Trap, VcpuCounters

LPT_FEATURES, LPT = "hvc:0xc5000020:0xc5000022", "hvc:0xc5000022"
GRACE_SECONDS = 3.0
FEW_SLOTS = 16
STATE = Path("/tmp/saved")


@contextmanager
def held(arguments: list[str], prefix: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """labvmm's report while its VMs still stand."""
    command = [*prefix, "labvmm", "--hold", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as vmm:
        assert vmm.stdin and vmm.stdout
        yield read_document(vmm.stdout)
        vmm.stdin.close()


def read_document(stream: Any) -> dict[str, Any]:
    """One JSON document, up to the line that completes it."""
    text = ""
    for line in stream:
        text += line
        try:
            document: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError:
            continue
        return document
    raise SystemExit(f"labvmm ended without its report: {text!r}")


def trap_of(trap: Trap) -> dict[str, Any]:
    return {**asdict(trap), "service": trap.service.counts(), "count": trap.count}


def vcpu_of(vcpu: VcpuCounters) -> dict[str, Any]:
    return {
        "vm": vcpu.vm.index,
        "vcpu": vcpu.vcpu,
        "tid": vcpu.tid,
        "last_unknown": vcpu.last_unknown,
        "traps": {cls.label: trap_of(trap) for cls, trap in vcpu.traps.items()},
        "interrupts": {timer: asdict(counts) for timer, counts in vcpu.interrupts.items()},
        "lateness": asdict(vcpu.lateness),
        "late": vcpu.late.counts(),
        "stolen": asdict(vcpu.stolen) if vcpu.stolen else None,
        "answers": {question: asdict(told) for question, told in vcpu.answers.items()},
    }


def dump(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as plain data."""
    return {
        "vms": [
            {
                "index": vm.key.index,
                "pid": vm.tgid,
                "alive": vm.alive,
                "lpt": asdict(vm.lpt) if vm.lpt else None,
                "calls": {kind: asdict(calls) for kind, calls in (vm.calls or {}).items()},
                "findings": [f.text for f in audit(vm.lpt, snapshot.counter_hz)] if vm.lpt else [],
            }
            for vm in snapshot.vms
        ],
        "vcpus": [vcpu_of(vcpu) for vcpu in snapshot.vcpus],
        "events": [asdict(event) for event in snapshot.events],
        "losses": dict(snapshot.losses),
        "counter_hz": snapshot.counter_hz,
    }


def impossible(vcpu: VcpuCounters) -> list[str]:
    """Counts that cannot be of one moment: sums that their counts and buckets do not allow."""
    found = []
    for cls, trap in vcpu.traps.items():
        counts, ns = trap.service.counts(), trap.served.ns
        least = sum(n * low for n, low in zip(counts, (0, *BUCKET_BOUNDS)))
        most = sum(n * high for n, high in zip(counts, (*BUCKET_BOUNDS, 1 << 62)))
        if sum(counts) != trap.served.count or not least <= ns <= most:
            found.append(f"{cls.label}: {trap}")
    return found


def hammer(source: LiveSource) -> dict[str, Any]:
    """Read as fast as possible while four vCPUs do nothing but trap."""
    ops = "*.*:hvc:0x84000000=20011,read:cntp_ctl_el0=4001,write:cntp_cval_el0=4003"
    command = ["labvmm", "--vm", "vcpus=2,count=2", "--ops", ops]
    readings, wrong, before = 0, [], dict[Any, int]()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as vmm:
        while vmm.poll() is None:
            for vcpu in source.read().vcpus:
                wrong += impossible(vcpu)
                count = sum(trap.count for trap in vcpu.traps.values())
                key = vcpu.vm, vcpu.vcpu
                wrong += [f"{key} went back"] if count < before.get(key, 0) else []
                before[key] = count
            readings += 1
    return {
        "readings": readings,
        "wrong": wrong,
        "status": vmm.returncode,
        "counts": count_all(source),
    }


def count_all(source: LiveSource) -> dict[str, int]:
    """Traps of all vCPUs by class."""
    counts: dict[str, int] = {}
    for vcpu in source.read().vcpus:
        for cls, trap in vcpu.traps.items():
            counts[cls.label] = counts.get(cls.label, 0) + trap.count
    return counts


def look(source: LiveSource, *arguments: str) -> dict[str, Any]:
    with held(list(arguments)) as truth:
        return {"truth": truth, "seen": dump(source.read())}


def spray(source: LiveSource) -> dict[str, Any]:
    ops = "spray:0xc7000000=1000003,hvc-dirty:0x84000000=5003,hvc:0x84000000=1009"
    return look(source, "--ops", f"0.0:{ops}")


def asked(source: LiveSource) -> dict[str, Any]:
    """One VM with LPT and stolen time, one with neither that asks for both, one with half of it.

    The VMM of the first asks for more than it can have, and back for what it has.
    """
    return look(
        source,
        *("--vm", "vcpus=1,lpt=twice,pv-freq=100000000,stolen=on"),
        *("--vm", "vcpus=1", "--vm", "vcpus=1,lpt=ipa-only"),
        *("--ops", f"1.0:{LPT_FEATURES}=3,{LPT}=2,hvc:0xc5000020:0xc5000021=5,hvc:0xc5000021=7"),
    )


def stolen(source: LiveSource) -> dict[str, Any]:
    """Two vCPUs on one CPU wait for each other."""
    arguments = ["--vm", "vcpus=2,stolen=on", "--ops", "*.*:hvc:0x84000000=30011"]
    with held(arguments, ("taskset", "-c", "0")) as truth:
        seen = dump(source.read())
        delays = {
            vcpu["tid"]: Path(f"/proc/{truth['vms'][0]['pid']}/task/{vcpu['tid']}/schedstat")
            for vcpu in truth["vms"][0]["vcpus"]
        }
        read = {tid: int(path.read_text().split()[1]) for tid, path in delays.items()}
    return {"truth": truth, "seen": seen, "run_delay": read}


def timers(source: LiveSource) -> dict[str, Any]:
    """Timers that the guest arms and never looks after: who fires, and what was to come when.

    A virtual one that has passed, beside a physical one that is read; a physical one that has
    passed; one that is to come, set while the line is down, and while it is up.
    """
    passed = "write:cntp_cval_el0:1=1,write:cntp_ctl_el0:1=1"
    # 60 ms of a counter at 62.5 MHz, which the reads outlast.
    ahead = "write:cntp_tval_el0:3750000=1"
    return look(
        source,
        *("--vm", "vcpus=1,count=4", "--spin", "100"),
        *("--ops", "0.0:write:cntv_ctl_el0:1=1,read:cntp_ctl_el0=1009"),
        *("--ops", f"1.0:{passed},read:cntp_ctl_el0=1009"),
        *("--ops", f"2.0:{ahead},write:cntp_ctl_el0:1=1,read:cntp_ctl_el0=20011"),
        *("--ops", f"3.0:{passed},{ahead},read:cntp_ctl_el0=20011"),
    )


def unreturned(source: LiveSource) -> dict[str, Any]:
    """Calls whose return is not seen: as if every instance of the kretprobes were taken."""
    with open(os.devnull) as other:
        for name in ("kvm_update_lpt_time_return", "kvm_arch_vm_ioctl_return"):
            os.dup2(other.fileno(), source._attachment.links[name], inheritable=False)
    seen = look(source, "--vm", "vcpus=4,lpt=on,pv-freq=100000000")
    dump_calls = ["bpftool", "--json", "map", "dump", "name", "lpt_calls"]
    return {**seen, "open": json.loads(subprocess.check_output(dump_calls))}


def crowd(source: LiveSource) -> dict[str, Any]:
    """512 vCPUs at once."""
    return look(
        source, "--vm", "vcpus=8,count=64", "--ops", "*.*:hvc:0x84000000=13,hvc:0x80000000=7"
    )


def refused(_source: LiveSource) -> dict[str, Any]:
    """More vCPUs than slots."""
    with LiveSource(LiveOptions(max_vcpus=FEW_SLOTS)) as few:
        return look(few, "--vm", "vcpus=8,count=3", "--ops", "*.*:hvc:0x84000000=101")


def churn(source: LiveSource) -> dict[str, Any]:
    """A thousand VMs, one after the other: their last counts, and what they leave behind."""
    command = ["labvmm", "--churn", "1000", "--vm", "vcpus=1,count=4"]
    command += ["--ops", "*.*:hvc:0x84000000=11,read:cntp_ctl_el0=3"]
    last: dict[Any, int] = {}
    gone: set[Any] = set()
    wrong: list[str] = []
    guests = Guests()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as vmm:
        while vmm.poll() is None:
            follow(source.read(), guests, last, gone, wrong)
            time.sleep(0.1)
        assert vmm.stdout
        truth = json.loads(vmm.stdout.read())
    end = time.monotonic() + 2 * GRACE_SECONDS
    while time.monotonic() < end:
        follow(source.read(), guests, last, gone, wrong)
        time.sleep(0.2)
    seen = {"vms": len({key[0] for key in last}), "gone": len(gone), "traps": sum(last.values())}
    return {"truth": truth, "seen": seen, "wrong": wrong, "left": leftovers(source)}


def follow(
    snapshot: Snapshot, guests: Guests, last: dict[Any, int], gone: set[Any], wrong: list[str]
) -> None:
    """Keep each vCPU's last count, by its labels; note one that goes back, or comes back."""
    labels = guests.identify(snapshot)
    now = {
        (labels[vcpu.vm].vm, vcpu.vcpu): sum(trap.count for trap in vcpu.traps.values())
        for vcpu in snapshot.vcpus
    }
    wrong += [f"{key} went back" for key, count in now.items() if count < last.get(key, 0)]
    wrong += [f"{key} came back" for key in now if key in gone]
    gone |= last.keys() - now.keys()
    last.update(now)


def leftovers(source: LiveSource) -> dict[str, int]:
    """Entries of the maps, by name; free_slots are all of them when nothing is taken."""
    maps = source._attachment.maps
    sizes = {"free_slots": 4, "tids": 4, "vcpus": 8, "kvms": 8, "events": 16}
    return {name: len(keys(maps[name], size)) for name, size in sizes.items()}


def hog(source: LiveSource) -> dict[str, Any]:
    """The same work alone, and beside something that wants the same CPU."""
    cpu = ("taskset", "-c", "1")
    work = ["--ops", "0.0:hvc:0x84000000=40009,read:cntp_ctl_el0=20011", "--spin", "100"]

    def one() -> Any:
        with held(work, cpu) as truth:
            tid = truth["vms"][0]["vcpus"][0]["tid"]
            (vcpu,) = (vcpu for vcpu in dump(source.read())["vcpus"] if vcpu["tid"] == tid)
            return vcpu

    alone = one()
    with subprocess.Popen([*cpu, "sh", "-c", "while :; do :; done"]) as busy:
        beside = one()
        busy.kill()
    return {"alone": alone, "beside": beside}


def late(source: LiveSource) -> dict[str, Any]:
    """A guest that takes timer interrupts and measures how late each was, and its hypercalls."""
    arguments = ["--time-ops", "--ops", "0.0:tick:physical=101,hvc:0x84000000=101"]
    with held(arguments, ("taskset", "-c", "1")) as truth:
        return {"truth": truth, "seen": dump(source.read())}


def migrate(arguments: list[str]) -> None:
    """One stop of a VM that migrates: --keep saves it at the end, and answers its state too."""
    keep = arguments[0] == "--keep"
    saving = ["--save", str(STATE), "--save-after", "6"] if keep else []
    with LiveSource() as source:
        command = ["labvmm", *arguments[keep:], *saving]
        vmm = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        seen = dump(source.read())
    state = base64.b64encode(STATE.read_bytes()).decode() if keep else None
    report = {"status": vmm.returncode, "truth": json.loads(vmm.stdout), "seen": seen}
    print(json.dumps({**report, "state": state}))


def restore(states: list[str]) -> None:
    """Saved VMs, one after the other, each to its end, and what has been seen by then."""
    seen = []
    with LiveSource() as source:
        for state in states:
            # It fails if the guest's clock is not right, which may be the guest's own doing.
            subprocess.run(["labvmm", "--restore", state], stdout=subprocess.DEVNULL)
            seen.append(dump(source.read()))
    print(json.dumps(seen))


PHASES: dict[str, Callable[[LiveSource], dict[str, Any]]] = {
    phase.__name__: phase
    for phase in (
        *(hammer, spray, asked, stolen, timers, crowd, refused),
        *(churn, hog, late, unreturned),
    )
}


def settle(source: LiveSource) -> None:
    """Until the VMs before are forgotten."""
    while source.read().vms:
        time.sleep(0.2)


def main(phases: list[str]) -> None:
    options = LiveOptions(grace_seconds=GRACE_SECONDS)
    report: dict[str, Any] = {"cpus": os.cpu_count()}
    with LiveSource(options) as source:
        report["warnings"] = source.warnings
        for phase in phases:
            begin = time.monotonic()
            report[phase] = PHASES[phase](source)
            settle(source)
            print(f"{phase}: {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        migrate(sys.argv[2:])
    elif sys.argv[1] == "restore":
        restore(sys.argv[2:])
    else:
        main(sys.argv[1:])
