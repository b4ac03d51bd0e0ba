# SPDX-License-Identifier: GPL-2.0-only
"""Recordings with the noise of real ones, and changes planted in them, from a seed.

Load comes and goes over many seconds, by vCPU; service times are skewed, with a slow few in a
hundred, and drift; timer interrupts set off traps, more or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

import numpy as np
import numpy.typing as npt

from lpttrace.abi import BUCKET_BOUNDS, BUCKETS, TrapClass
from lpttrace.catalog import METRICS
from lpttrace.model import Guest
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.snapshot import (
    Account,
    Histogram,
    Interrupts,
    Probe,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

__all__ = ["CTL_READ", "CTL_WRITE", "HOST", "PTP", "RANDOM", "Plan", "Recording", "record"]

SECOND = 10**9
START = 1_790_000_000 * SECOND

CTL_READ = TrapClass("timer", "cntp_ctl_el0", "read")
CTL_WRITE = TrapClass("timer", "cntp_ctl_el0", "write")
CVAL_WRITE = TrapClass("timer", "cntp_cval_el0", "write")
CNTPCT = TrapClass("timer", "cntpct_el0", "read")
PTP = TrapClass("hypercall", "vendor_hyp_kvm_ptp", "")
RANDOM = TrapClass("hypercall", "trng_rnd64", "")

HOST = RecordedHost(
    *("host-a", "6.1.0", "aa11", "aarch64", "Cortex-A57", 8, "nvhe"),
    *(25_000_000, "0.1.0", 3, "synthetic"),
)
PROBES = tuple(
    Probe(name, True) for name in dict.fromkeys(p for metric in METRICS for p in metric.probes)
)

# Traps per interrupt, and nanoseconds each.
LOAD = {
    CNTPCT: (0.5, 1_900),
    CTL_READ: (2, 2_100),
    CTL_WRITE: (2, 2_400),
    CVAL_WRITE: (1, 2_700),
    PTP: (0.16, 1_500),
    RANDOM: (0.01, 3_300),
}


@dataclass(frozen=True, eq=False)
class Plan:
    """A run, and what is changed in it: slower is a factor by vCPU (None: all) and class (None:
    all); extra traps per interrupt; slow a share of traps and how many times slower these are; late
    how many times later interrupts are. loads is how busy each vCPU is, as busy is for all.
    """

    seconds: int = 120
    vcpus: int = 4
    busy: float = 1.0
    interval: float = 1.0
    slower: Mapping[tuple[Optional[int], Optional[TrapClass]], float] = field(default_factory=dict)
    extra: Mapping[TrapClass, int] = field(default_factory=dict)
    slow: Mapping[TrapClass, tuple[float, float]] = field(default_factory=dict)
    more_calls: float = 1.0
    squeezed: bool = False
    late: float = 1.0
    run_noise: float = 0.0
    loads: tuple[float, ...] = ()

    def factor(self, vcpu: int, cls: TrapClass) -> float:
        """By how much traps of the class are slower there."""
        keys = ((vcpu, cls), (vcpu, None), (None, cls), (None, None))
        return float(np.prod([self.slower.get(key, 1.0) for key in keys]))


@dataclass
class Recording:
    """Frames in memory."""

    host: RecordedHost
    made: Sequence[Frame]
    problem: Optional[str] = None

    def frames(self) -> Iterator[Frame]:
        """All of them."""
        return iter(self.made)

    def without(self, *probes: str) -> Recording:
        """The same, had these probes not been attached."""
        missing = tuple(
            Probe(p.name, False, f"no {p.name} here") if p.name in probes else p for p in PROBES
        )
        return self._with(missing)

    def hostile(self, text: str) -> Recording:
        """The same from a file whose author put that wherever there may be any text."""
        host = RecordedHost(*(text, text, text, text, text, 8, text, None, text, 3, text))
        missing = tuple(Probe(p.name, False, text) for p in PROBES)
        return Recording(host, self._with(missing).made)

    def _with(self, probes: tuple[Probe, ...]) -> Recording:
        frames = [replace(f, snapshot=replace(f.snapshot, probes=probes)) for f in self.made]
        return Recording(self.host, frames)


Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def _wandering(random: np.random.Generator, n: int, spread: float, memory: float) -> Floats:
    """Autocorrelated noise of mean 1."""
    steps = random.normal(0, spread * (1 - memory**2) ** 0.5, n)
    steps[0] = random.normal(0, spread)
    for i in range(1, n):
        steps[i] += memory * steps[i - 1]
    return np.asarray(np.exp(steps))


@dataclass
class _Counted:
    """Cumulative, by frame."""

    count: Counts
    ns: Counts
    out: Counts
    out_ns: Counts
    histogram: Counts

    def trap(self, i: int) -> Trap:
        return Trap(
            Account(int(self.count[i]), int(self.ns[i])),
            Account(int(self.out[i]), int(self.out_ns[i])),
            service=Histogram.of([int(x) for x in self.histogram[i]]),
        )


def _times(
    random: np.random.Generator, counts: Counts, ns: float, plan: Plan, cls: TrapClass, vcpu: int
) -> tuple[Counts, Floats]:
    """The frame and the nanoseconds of each trap."""
    frame = np.repeat(np.arange(len(counts)), counts)
    n = len(frame)
    times = random.lognormal(0, 0.25, n) * ns * plan.factor(vcpu, cls)
    tail = random.random(n) < 0.015
    times[tail] *= random.lognormal(1.7, 0.5, int(tail.sum()))
    share, factor = plan.slow.get(cls, (0.0, 1.0))
    times[random.random(n) < share] *= factor
    if plan.squeezed and cls == CTL_WRITE:
        times = _squeezed(times)
    return frame, times * _wandering(random, len(counts), 0.02, 0.9)[frame]


def _squeezed(times: Floats) -> Floats:
    """The slowest 2 % twice as slow, the rest faster, the mean as it was."""
    slow = times > np.quantile(times, 0.98) if len(times) else times > 0
    doubled: Floats = times.copy()
    doubled[slow] *= 2
    doubled[~slow] *= (times.sum() - doubled[slow].sum()) / max(1.0, times[~slow].sum())
    return doubled


def _counted(
    random: np.random.Generator, counts: Counts, ns: float, plan: Plan, cls: TrapClass, vcpu: int
) -> _Counted:
    out = random.binomial(counts, 0.001)
    served = counts - out
    frame, times = _times(random, served, ns, plan, cls, vcpu)
    bucket = np.searchsorted(BUCKET_BOUNDS, times)
    n = len(counts)
    histogram = np.bincount(frame * BUCKETS + bucket, minlength=n * BUCKETS).reshape(n, BUCKETS)
    return _Counted(
        np.cumsum(served),
        np.cumsum(np.bincount(frame, times, n).astype(np.int64)),
        np.cumsum(out),
        np.cumsum(out * 40 * int(ns)),
        np.cumsum(histogram, axis=0),
    )


class _Vcpu:
    def __init__(self, random: np.random.Generator, plan: Plan, vm: VmKey, number: int) -> None:
        self.name = vm, number, 100 * vm.index + number + 1
        plan = replace(plan, busy=plan.busy * (plan.loads[number] if plan.loads else 1.0))
        n = int(plan.seconds / plan.interval) + 1
        load = _wandering(random, n, 0.2, 0.95) * (0.7 + 0.2 * number)
        ticks = random.poisson(250 * plan.busy * plan.interval * load)
        self.ticks, self.traps = np.cumsum(ticks), dict[TrapClass, _Counted]()
        for cls, (per_tick, ns) in LOAD.items():
            counts = _traps(random, ticks, per_tick, plan, cls)
            self.traps[cls] = _counted(random, counts, ns, plan, cls, number)
        self.late = _counted(
            random, ticks, 21_000 * plan.late, replace(plan, slower={}), RANDOM, number
        )
        self.stolen = np.cumsum(random.exponential(3e6, n) * plan.busy).astype(np.int64)

    def counters(self, i: int) -> VcpuCounters:
        late = self.late.trap(i)
        return VcpuCounters(
            *self.name,
            {cls: counted.trap(i) for cls, counted in self.traps.items()},
            interrupts={"physical": Interrupts(int(self.ticks[i]))},
            lateness=late.served,
            late=late.service,
            stolen=Stolen(Account(20 * i, 14_000 * i), int(self.stolen[i])),
            seen_ns=1,
        )


def _traps(
    random: np.random.Generator, ticks: Counts, per_tick: float, plan: Plan, cls: TrapClass
) -> Counts:
    if per_tick < 1:
        more = plan.more_calls if cls == PTP else 1
        return np.asarray(random.poisson(ticks * per_tick * more))
    whole = int(per_tick) + plan.extra.get(cls, 0)
    return np.asarray(whole * ticks + random.binomial(ticks, 0.05))


def record(
    seed: int, plan: Optional[Plan] = None, names: Sequence[str] = ("web",), first: int = 0
) -> Recording:
    """A run of these VMs."""
    plan, random = plan or Plan(), np.random.default_rng(seed)
    if plan.run_noise:
        whole = random.lognormal(0, plan.run_noise)
        plan = replace(plan, slower={**plan.slower, (None, None): whole})
    keys = [VmKey(index, 1) for index in range(len(names))]
    vcpus = [_Vcpu(random, plan, key, number) for key in keys for number in range(plan.vcpus)]
    guests = {key: Guest(str(1000 + key.index), n, 1000 + key.index) for key, n in zip(keys, names)}
    vms = tuple(VmCounters(key, 1000 + key.index, True, None) for key in keys)
    frames = []
    for i in range(len(vcpus[0].ticks)):
        passed = int((first + i * plan.interval) * SECOND)
        now = 100 * SECOND + passed
        counters = tuple(vcpu.counters(i) for vcpu in vcpus)
        snapshot = Snapshot(now - 1000, now, vms, counters, PROBES, {}, counter_hz=25_000_000)
        frames.append(Frame(START + passed, snapshot, guests))
    return Recording(HOST, frames)
