# SPDX-License-Identifier: GPL-2.0-only
"""The full screen, driven by keys."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

import pytest
from textual.pilot import Pilot

from lpttrace.errors import HostError
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.snapshot import Snapshot, VmKey
from lpttrace.snapshot_upkeep import Upkeep
from lpttrace.synthetic import SyntheticSource, identify
from lpttrace.top import TopApp, View
from lpttrace.top_feed import Feed
from lpttrace.top_screens import Page
from lpttrace.top_table import Line, VmTable
from tests.unit import timed

SIZE = (80, 24)


@pytest.fixture
def before(before: Snapshot) -> Snapshot:
    """Where all can be seen."""
    return replace(before, probes=timed.probes())


@pytest.fixture
def after(after: Snapshot) -> Snapshot:
    """Where all can be seen."""
    return replace(after, probes=timed.probes())


def screen(app: TopApp) -> str:
    """What is on the terminal, line by line."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines)


async def settled(app: TopApp, pilot: Pilot[Any]) -> str:
    """The screen once it does not change any more."""
    text, same = "", 0
    # On a busy machine time alone tells nothing; each pause is at least one turn of the loop.
    for _ in range(500):
        await pilot.pause(0.02)
        last, text = text, screen(app)
        same = same + 1 if text == last else 0
        if same == 5:
            break
    return text


async def shown(app: TopApp, pilot: Pilot[Any], model: Model, status: Optional[int] = None) -> str:
    app.frame(model, status)
    return await settled(app, pilot)


async def press(app: TopApp, pilot: Pilot[Any], *keys: str) -> str:
    await pilot.press(*keys)
    return await settled(app, pilot)


def detail(text: str) -> list[str]:
    """What is told of the selected row, at 24 lines."""
    return [line.strip() for line in text.splitlines()[-9:-1]]


def rows(text: str) -> list[str]:
    """The labels of the VMs, in order."""
    return [line.split()[1] for line in text.splitlines() if line.strip()[:1] in ("▸", "▾")]


async def test_the_first_screen_comes_before_anything_is_attached() -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        text = await settled(app, pilot)
        assert "attaching…" in text
        assert "Quit" in text


async def test_vms(model: Model) -> None:
    app = TopApp(View(interval=2))
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(app, pilot, model)
        head, titles = text.splitlines()[:2]
        assert "4 VMs 5 vCPUs" in head and "probes 14/14" in head and "torn 2" in head
        assert "every 2 s" in head
        assert titles.split()[-7:] == ["HVC/s", "HVC", "P99", "TIMER/s", "TMR", "P99", "LPT"]
        assert rows(text) == ["1234", "1234-2", "2000", "3000"]
        web = next(line for line in text.splitlines() if "1234 web" in line)
        assert web.split()[-5:] == ["28.0", "-", "0", "-", "published"]
        assert "native 24 MHz, PV 100 MHz, sequence 2" in text


async def test_totals_are_since_the_agent_attached(model: Model) -> None:
    upkeep = Upkeep(1)
    snapshot = replace(model.snapshot, end_ns=1 + 3 * 3600 * 10**9, upkeep=upkeep)
    app = TopApp(View())
    async with app.run_test(size=(80, 50)) as pilot:
        text = await shown(app, pilot, replace(model, snapshot=snapshot))
        assert "probes 14/14 for 3 h" in text.splitlines()[0]
        assert "Probes, for 3 h: totals are since then" in await press(app, pilot, "i")


async def test_names_are_not_markup(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=(160, 24)) as pilot:
        assert '1234 web "1"\\n\\x1b[31m\\u202e\\[bold]' in await shown(app, pilot, model)


async def test_opening_and_closing(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, model)
        assert "vCPU 1" in await press(app, pilot, "right")
        text = await press(app, pilot, "down", "enter")
        assert "psci_cpu_on" in text and "last unknown function 0xc6000999" in text
        text = await press(app, pilot, "down", "down")
        assert "psci_version, vCPU 0 of 1234" in text
        assert "1 being served\n kept apart: 1 scheduled out (40.0 µs)\n" in text
        # Left goes up to the vCPU, closes it, goes up to the VM, closes that.
        assert "psci_cpu_on" in await press(app, pilot, "left")
        assert "psci_cpu_on" not in await press(app, pilot, "left")
        assert "vCPU 1" not in await press(app, pilot, "left", "left")
        text = await press(app, pilot, "o")
        assert text.count("vCPU 0") == 4
        assert "vCPU 0" not in await press(app, pilot, "c")


async def test_sorting(model: Model) -> None:
    app = TopApp(View(sort="hypercalls"))
    async with app.run_test(size=SIZE) as pilot:
        assert rows(await shown(app, pilot, model)) == ["2000", "1234", "1234-2", "3000"]
        assert rows(await press(app, pilot, "r")) == ["1234-2", "3000", "1234", "2000"]
        text = await press(app, pilot, "less_than_sign")
        assert rows(text) == ["1234", "1234-2", "2000", "3000"]
        assert "class▾" in text
        await pilot.click("#titles", offset=(76, 0))
        assert "LPT▾" in await settled(app, pilot)


async def test_the_selection_stays_on_its_vm(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, model)
        await press(app, pilot, "down", "down")
        text = await press(app, pilot, "greater_than_sign")
        assert rows(text)[0] == "2000"
        assert "2000 (ended) a name that is far too long" in detail(text)[0]
        text = await shown(app, pilot, replace(model, vms=model.vms[:2]))
        assert '1234 web "1"' in detail(text)[0]


async def test_filter(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, model)
        assert rows(await press(app, pilot, "slash", *"1234")) == ["1234", "1234-2"]
        text = await press(app, pilot, "enter")
        assert "only VMs with '1234'; Esc shows all" in text
        # Keys are keys again.
        assert "PAUSED" in await press(app, pilot, "p")
        assert len(rows(await press(app, pilot, "escape"))) == 4
        assert "no VM has 'xyz'" in await press(app, pilot, "slash", *"xyz")


async def test_timers_and_pvtime() -> None:
    app = TopApp(View())
    async with app.run_test(size=(90, 30)) as pilot:
        text = await shown(app, pilot, timed.timed())
        lines = [line.strip() for line in text.splitlines()[-11:-1]]
        assert lines == [
            "100 migrated: pid 100, 1 vCPUs",
            "LPT: native 25 MHz (migrated from 62.5 MHz), PV 100 MHz, sequence 4",
            "asked for LPT: granted 2 of 2; asked for stolen time: granted 2 of 2",
            "hypercalls: 0",
            "timer traps: 1402, p50 1.92 µs, p90 2.82 µs, p99 2.82 µs, max 2.82 µs",
            "physical timer: 240.0 interrupts/s of 5.00 traps, 12.5 µs each, 28 overdue",
            "late: p50 18.4 µs, p90 18.4 µs, p99 983 µs, max 983 µs",
            "stolen time: 2.00 %, 30.0 ms since attach, 30 updates (700 ns)",
            "LPT: scale off by 0 ppb native to PV, 0 ppb PV to native, 1 published (12.3 µs)",
            "",
        ]
        text = await press(app, pilot, "right", "down")
        assert "vCPU 0 of 100 migrated: thread 101" in text
        text = await press(app, pilot, "right", "down", "down")
        assert "cntp_ctl_el0 write, vCPU 0 of 100 migrated" in text
        assert "in this interval: p50 1.92 µs" in text and "since attach: p50 1.92 µs" in text


async def test_alarms() -> None:
    app = TopApp(View(sort="lpt"))
    model = timed.timed()
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(app, pilot, model)
        assert rows(text) == ["300", "200", "100"]
        alarm = "ALARM: LPT of 300: factor native_to_pv is off by"
        assert text.splitlines()[1].strip().startswith(alarm)
        assert detail(text)[1].startswith(alarm)
        (segment, *_) = app.query_one("#detail", Line).render_line(1)
        assert "bold red" in str(segment.style)
        many = replace(model, vms=model.vms[2:] * 4)
        text = await shown(app, pilot, many)
        assert "ALARM: 2 more; sort by LPT to see whose" in text


async def test_events_follow_the_frames() -> None:
    app = TopApp(View())
    model = timed.timed()
    fewer = replace(model, snapshot=replace(model.snapshot, events=timed.EVENTS[:2]))
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, fewer)
        text = await press(app, pilot, "e")
        assert "100 set attribute EINVAL group 3 attr 1: 0x10" in text
        assert "LPT update" not in text
        text = await shown(app, pilot, model)
        assert "100 LPT update    ok     native 62.5 MHz -> 25 MHz" in text
        await pilot.resize_terminal(100, 40)
        assert "300 LPT update    EFAULT nothing published" in await settled(app, pilot)
        assert "TIMER/s" in await press(app, pilot, "e")
        # Once it is closed, a frame does not bring it back.
        assert "LPT update" not in await shown(app, pilot, model)


async def test_a_wide_terminal_has_more_columns() -> None:
    app = TopApp(View())
    async with app.run_test(size=(120, 40)) as pilot:
        text = await shown(app, pilot, timed.timed())
        row = next(line for line in text.splitlines() if "100 migrated" in line)
        times = ["1200", "2.50", "µs", "2.82", "µs", "240.0", "5.00", "published"]
        assert row.split()[-8:] == times
        await press(app, pilot, "less_than_sign", "less_than_sign")
        assert "TRAP/IRQ▾" in await settled(app, pilot)
        await pilot.resize_terminal(80, 24)
        assert "TRAP/IRQ" not in await settled(app, pilot)


async def test_pause(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, model)
        assert "PAUSED" in await press(app, pilot, "p")
        fewer = replace(model, vms=model.vms[:1])
        assert len(rows(await shown(app, pilot, fewer))) == 4
        assert len(rows(await press(app, pilot, "p"))) == 1


async def test_what_cannot_be_seen(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    probes = tuple(
        replace(p, attached=False, reason="this kernel has no function frob")
        if p.name == "kvm_update_lpt_time"
        else p
        for p in after.probes
    )
    vms = tuple(replace(vm, lpt=None) for vm in after.vms)
    stock = compare(tally(before), tally(replace(after, probes=probes, vms=vms)), guests)
    app = TopApp(View())
    async with app.run_test(size=(80, 50)) as pilot:
        text = await shown(app, pilot, stock)
        assert "LPT n/a: this kernel has no function frob" in text
        assert text.count("n/a") >= 5
        app.attached(("no function frob: continuing without it, LPT updates are not shown",))
        text = await press(app, pilot, "i")
        assert "kvm_update_lpt_time          not attached" in text
        assert "Losses torn 2" in text and "continuing without it" in text


async def test_help(model: Model) -> None:
    app = TopApp(View())
    async with app.run_test(size=(80, 50)) as pilot:
        await shown(app, pilot, model)
        assert "cannot be seen on this host" in await press(app, pilot, "question_mark")
        assert isinstance(app.screen, Page)
        await press(app, pilot, "escape")
        assert not isinstance(app.screen, Page)


@pytest.mark.parametrize(
    "keys", [("q",), ("ctrl+c",), ("question_mark", "ctrl+c"), ("slash", "ctrl+c")]
)
async def test_quit(model: Model, keys: tuple[str, ...]) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        await shown(app, pilot, model)
        await pilot.press(*keys)
        await pilot.pause(0.05)
    assert app.return_value == 0


async def test_an_error_ends_the_screen() -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        app.failed(HostError("cannot trace KVM on this host"))
        await pilot.pause(0.05)
    assert isinstance(app.return_value, HostError)


async def test_nothing_to_show(before: Snapshot) -> None:
    app = TopApp(View())
    async with app.run_test(size=SIZE) as pilot:
        empty = compare(None, tally(replace(before, vms=(), vcpus=())), {})
        assert "no VM is running" in await shown(app, pilot, empty)
        await press(app, pilot, "down", "up", "right", "left", "enter", "pagedown", "end", "home")
        assert app.query_one(VmTable).selected is None


async def test_many_rows_scroll() -> None:
    source = SyntheticSource(200, 4)
    snapshot = source.read()
    app = TopApp(View(kind="synthetic"))
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(app, pilot, compare(None, tally(snapshot), identify(snapshot)))
        assert "SYNTHETIC" in text and "1001 synthetic-0" in text
        assert "1200 synthetic-199" in await press(app, pilot, "end")
        assert "1001 synthetic-0" in await press(app, pilot, "home")
        assert "1025 synthetic-24" in await press(app, pilot, "pagedown", "pagedown")


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 50)])
async def test_sizes(model: Model, size: tuple[int, int]) -> None:
    app = TopApp(View())
    async with app.run_test(size=size) as pilot:
        text = await shown(app, pilot, model)
        assert max(map(len, text.splitlines())) <= size[0]


class Heard:
    """A listener."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.enough = threading.Event()

    def attached(self, warnings: tuple[str, ...]) -> None:
        self.events.append(warnings)

    def frame(self, model: Model, command_status: Optional[int]) -> None:
        self.events.append(model)
        if len(self.events) >= 4:
            self.enough.set()

    def failed(self, error: BaseException) -> None:
        self.events.append(error)
        self.enough.set()


def test_feed_tells_frames_until_it_is_stopped() -> None:
    heard = Heard()
    feed = Feed(SyntheticSource(1, 1), identify, 0.01, None, heard)
    feed.start()
    assert heard.enough.wait(10)
    feed.stop()
    feed.join(10)
    assert not feed.is_alive()
    assert heard.events[0] == ()
    first, second = heard.events[1:3]
    assert isinstance(first, Model) and first.seconds is None
    assert isinstance(second, Model) and second.seconds


def test_feed_tells_why_it_cannot_go_on() -> None:
    class Refusing(SyntheticSource):
        def __enter__(self) -> SyntheticSource:
            raise HostError("no")

    heard = Heard()
    feed = Feed(Refusing(1, 1), identify, 0.01, None, heard)
    feed.start()
    feed.join(10)
    assert isinstance(heard.events[0], HostError)
