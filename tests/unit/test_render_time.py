# SPDX-License-Identifier: GPL-2.0-only
"""Service times, timers and events as people see them."""

from __future__ import annotations

from datetime import datetime, timezone

from lpttrace.catalog import METRICS
from lpttrace.model import ClassFlow, VmModel, compare, tally
from lpttrace.render_columns import LPT_COLUMN, NUMBERS, Subject, numbers
from lpttrace.render_event import event_table
from lpttrace.render_time import flow_line, service_lines, time_lines
from tests.unit import timed

NOW = datetime(2026, 11, 22, 18, 0, 0, 0, timezone.utc)


def lines(vm: VmModel) -> list[str]:
    return list(time_lines(vm.time))


def test_timers_lateness_and_stolen_time() -> None:
    migrated, asker, wrong = timed.timed().vms
    assert lines(migrated) == [
        "physical timer: 240.0 interrupts/s of 5.00 traps, 12.5 µs each, 28 overdue",
        "late: p50 18.4 µs, p90 18.4 µs, p99 983 µs, max 983 µs",
        "stolen time: 2.00 %, 30.0 ms since attach, 30 updates (700 ns)",
    ]
    assert lines(asker) == [
        "virtual timer: 0 interrupts/s",
        "late: n/a, none is of an emulated timer",
    ]
    assert lines(wrong) == []


def test_times_that_cannot_be_seen() -> None:
    assert lines(timed.blind("kvm_timer_update_irq").vms[2]) == ["timer interrupts: n/a"]
    assert lines(timed.blind("kvm_update_stolen_time").vms[2]) == ["stolen time: n/a"]
    migrated = timed.blind("kvm_handle_sys_reg", "kvm_entry").vms[0]
    assert lines(migrated)[:2] == [
        "physical timer: 240.0 interrupts/s, traps n/a, 28 overdue",
        "late: n/a",
    ]


def test_without_an_interval() -> None:
    migrated = compare(None, tally(timed.after()), timed.GUESTS).vms[0]
    assert lines(migrated)[1:] == [
        "late: p50 18.4 µs, p90 18.4 µs, p99 983 µs, max 983 µs since attach",
        "stolen time: -, 30.0 ms since attach, 30 updates (700 ns)",
    ]


def test_lines_of_traps() -> None:
    flow = timed.timed().vms[0].timer_traps
    assert flow is not None
    times = "p50 1.92 µs, p90 2.82 µs, p99 2.82 µs, max 2.82 µs"
    assert flow_line("timer traps", flow) == f"timer traps: 1402, {times}"
    assert flow_line("timer traps", None) == "timer traps: n/a"
    spans = service_lines(flow)
    assert [line.partition(":")[0] for line in spans] == ["in this interval", "since attach"]


def cells(subject: Subject) -> list[str]:
    return [column.cell(subject) for column in NUMBERS]


def test_every_column_of_the_catalogue_is_shown() -> None:
    titles = {column.title for column in NUMBERS} | {LPT_COLUMN}
    assert {metric.column for metric in METRICS if metric.column} <= titles


def test_columns() -> None:
    vm = timed.timed().vms[0]
    (vcpu,) = vm.vcpus()
    shown = ["0", "-", "-", "1200", "2.50 µs", "2.82 µs", "240.0", "5.00"]
    assert cells(vm) == cells(vcpu) == shown
    write = next(item for item in vcpu.classes() if item.trap == timed.CTL_WRITE)
    assert cells(write) == ["", "", "", "600.0", "2.00 µs", "1.92 µs", "", ""]
    call = ClassFlow(write.trap._replace(kind="hypercall"), write.flow)
    assert cells(call)[:4] == ["600.0", "2.00 µs", "1.92 µs", ""]
    hidden = timed.blind("kvm_entry", "kvm_timer_update_irq").vms[0]
    assert cells(hidden) == ["n/a"] * len(NUMBERS)


def test_columns_go_where_room_is_short() -> None:
    assert [len(numbers(room)) for room in (40, 80, 100, 120)] == [4, 4, 6, 8]


def test_events() -> None:
    model = timed.timed()
    rows = [line.split(maxsplit=3)[2:] for line in event_table(model, model.vms, NOW).splitlines()]
    assert [" ".join(row) for row in rows[1:]] == [
        "100 set attribute EINVAL group 3 attr 1: 0x10",
        "100 set attribute ok     group 3 attr 1: 0x5f5e100",
        "200 has attribute ENXIO  group 3 attr 0",
        "100 LPT update    ok     native 62.5 MHz -> 25 MHz",
        "300 LPT update    EFAULT nothing published",
    ]
    assert event_table(model, model.vms, NOW).splitlines()[1].startswith("11-22 17:59:54.000 100")
