# SPDX-License-Identifier: GPL-2.0-only
"""Changes planted in a host's kernel, another kernel, and none: what `diff` says, and nothing else.

Time is instructions here. Phases are windows of one recording of a Linux guest whose four vCPUs
sleep and wake, on the kernel lpt-6.1-planted.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from labkit.cache import Cache, default_root
from labkit.lab import Lab

from lpttrace.abi import TrapClass
from lpttrace.blocks import Blocks, Window, reduce
from lpttrace.blocks_rows import LATENESS
from lpttrace.cli_diff import group_of
from lpttrace.diff import Compared, compare
from lpttrace.diff_page import page
from lpttrace.diff_types import Difference, Row
from lpttrace.recording_reader import Recording
from tests.lab.conftest import REPOSITORY, LabRun

CTL_READ = TrapClass("timer", "cntp_ctl_el0", "read")
CTL_WRITE = TrapClass("timer", "cntp_ctl_el0", "write")
CVAL_WRITE = TrapClass("timer", "cntp_cval_el0", "write")

# sys_reg(3, 3, 14, 2, 2)
CVAL = 3 << 19 | 3 << 16 | 14 << 12 | 2 << 8 | 2 << 5
# About what a write of CNTP_CVAL takes here.
SERVICE_NS = 4800

SLEEP_US = 40_000
SECONDS = 16
PAIRS = 20
PAIR_SECONDS = 5


class Planted(NamedTuple):
    """Knobs of the kernel, and all that `diff` is to tell, in any order."""

    knobs: Mapping[str, int]
    told: tuple[tuple[str, int | None, TrapClass], ...]


PLANTED = {
    "one-register": Planted(
        {"planted_ns": 350, "planted_register": CVAL},
        (("service", None, CVAL_WRITE),),
    ),
    "traps-per-interrupt": Planted({"planted_again": 1}, (("frequency", None, CTL_READ),)),
    "one-vcpu": Planted(
        {"planted_ns": SERVICE_NS // 2, "planted_vcpu": 2},
        tuple(("service", 2, cls) for cls in (CTL_READ, CTL_WRITE, CVAL_WRITE)),
    ),
    "slow-few": Planted(
        {"planted_ns": 9 * SERVICE_NS, "planted_register": CVAL, "planted_every": 100},
        (("service", None, CVAL_WRITE),),
    ),
}


def phases() -> list[dict[str, Any]]:
    same = {"seconds": SECONDS, "sleep_us": SLEEP_US}
    return [
        {**same, "name": "calm", "seconds": 2 * PAIRS * PAIR_SECONDS},
        {**same, "name": "before"},
        *({**same, "name": name, "knobs": planted.knobs} for name, planted in PLANTED.items()),
        {**same, "name": "busy", "sleep_us": SLEEP_US // 2},
    ]


Run = Callable[[list[str], list[str]], LabRun]
Recorded = tuple[Path, dict[str, Window]]


def record(lab: Run, options: list[str], arguments: list[str], directory: Path) -> Recorded:
    """The recording, and the windows of its phases."""
    host = ["--icount", "--smp", "1", "--timeout", "1500", *options]
    done = lab(host, ["python3", "/tmp/guest/pairs.py", *arguments])
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    path = directory / "run.lpt"
    path.write_bytes(base64.b64decode(found["recording"]))
    return path, {name: (begin, end) for name, (begin, end) in found["windows"].items()}


@pytest.fixture(scope="module")
def recorded(lab: Run, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    options, arguments = ["--kernel", "lpt-6.1-planted"], [json.dumps(phases())]
    return record(lab, options, arguments, tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def newer(lab: Run, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The same guest, its kernel included, on another host."""
    image = Lab(REPOSITORY, Cache(default_root(os.environ))).kernel("lpt-6.1-planted")
    options = ["--kernel", "lpt-6.12", "--add", f"{image}:/tmp/Image"]
    (before,) = (phase for phase in phases() if phase["name"] == "before")
    arguments = [json.dumps([before]), "/tmp/Image"]
    return record(lab, options, arguments, tmp_path_factory.mktemp("newer"))


def part(path: Path, window: Window) -> Blocks:
    with Recording(str(path)) as recording:
        blocks = reduce(recording, group_of((), ()), window)
    assert blocks is not None
    return blocks


@pytest.fixture(scope="module")
def compared(recorded: Recorded) -> Callable[[str], Difference]:
    path, windows = recorded
    before = part(path, windows["before"])
    return lambda name: compare([before], [part(path, windows[name])]).difference


def changed(found: Difference) -> list[Row]:
    """In their order."""
    return [row for row in found.rows if row.verdict in ("regressed", "improved")]


def told(found: Difference) -> list[tuple[str, int | None, TrapClass]]:
    return [(row.measure, row.vcpu, row.cls) for row in changed(found)]


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_all_that_is_told(
    name: str, compared: Callable[[str], Difference]
) -> None:
    found = compared(name)
    assert sorted(told(found), key=str) == sorted(PLANTED[name].told, key=str)
    costs = [row.effect_ns for row in changed(found)]
    assert costs == sorted(costs, reverse=True) and min(costs) > 0
    assert all(row.verdict == "regressed" for row in changed(found))


def test_ten_percent_is_told_as_ten_percent(compared: Callable[[str], Difference]) -> None:
    (row,) = changed(compared("one-register"))
    assert row.bounds is not None and 0.08 < row.bounds.change < 0.12


def test_one_trap_more_is_told_as_one(compared: Callable[[str], Difference]) -> None:
    (row,) = changed(compared("traps-per-interrupt"))
    assert row.before is not None and row.after is not None
    assert row.after - row.before == pytest.approx(1, abs=0.1)


def test_twice_as_busy_is_no_regression(compared: Callable[[str], Difference]) -> None:
    found = compared("busy")
    assert told(found) == []
    (load,) = found.loads
    before, after = load.interrupts
    assert before and after and after > 1.5 * before


def test_no_change_is_none(recorded: Recorded) -> None:
    """Twenty pairs, at most one false alarm in all of them."""
    path, windows = recorded
    begin = windows["calm"][0]
    step = int(PAIR_SECONDS * 1e9)
    parts = [part(path, (begin + i * step, begin + (i + 1) * step - 1)) for i in range(2 * PAIRS)]
    pairs = [compare([one], [other]).difference for one, other in zip(parts[::2], parts[1::2])]
    assert sum(len(changed(found)) for found in pairs) <= 1
    # And it could have told: most is the same, not unknown.
    assert all(found.having("same") for found in pairs)


@pytest.fixture(scope="module")
def kernels(recorded: Recorded, newer: Recorded) -> Compared:
    (one, its), (other, others) = recorded, newer
    return compare([part(one, its["before"])], [part(other, others["before"])])


def test_another_kernel_is_told_in_numbers(kernels: Compared) -> None:
    """6.12 serves timer traps faster; the guest traps as often."""
    rows = kernels.difference.rows
    for cls in (CTL_READ, CTL_WRITE, CVAL_WRITE):
        (mean,) = (row for row in rows if (row.cls, row.measure) == (cls, "service"))
        assert (mean.verdict, mean.vcpu) == ("improved", None)
        (often,) = (row for row in rows if (row.cls, row.measure) == (cls, "frequency"))
        assert often.verdict == "same"
    late = [row for row in rows if (row.cls, row.measure) == (LATENESS, "service")]
    # Four times, where vCPUs wait for the recorder: see pairs.py.
    assert late and all(row.before and row.after and row.after < 2 * row.before for row in late)


def test_the_page_alone_says_what_differs(kernels: Compared) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page(kernels), flags=re.S))
    releases = [
        side[0].host.kernel for side in (kernels.difference.before, kernels.difference.after)
    ]
    assert [release.split(".")[:2] for release in releases] == [["6", "1"], ["6", "12"]]
    hosts = words[words.index("What differs between the hosts") : words.index("What changed")]
    assert f"kernel {releases[0]} {releases[1]} it serves the traps" in hosts
    assert re.search(r"The same on both: host lab, .*hypervisor mode nVHE, .* 62500000 Hz", hosts)
    assert "Counted on both: hypercalls, timer traps, timer interrupts, timer lateness" in hosts
    assert "improved lablinux all cntp_ctl_el0 read mean" in words
    assert "mean is the time that the host takes to serve one such trap" in words
