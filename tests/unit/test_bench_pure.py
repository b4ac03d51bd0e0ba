# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark's arithmetic, and what it reads of others' output."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import (
    crosscheck,
    docs,
    guest_side,
    kernel_memory,
    live_agent,
    programs,
    report,
    tools,
    workload,
)
from bench.agent import AgentCost
from bench.kernel_memory import KernelMemory

PER_TRAP = {
    "nothing": [2026.1, 2024.0, 2026.0],
    "empty": [2286.0],
    "lpttrace": [2626.0, 2627.0, 2625.9],
    "ftrace": [3898.0],
    "perf": [5006.0],
    "bpftrace": [5226.0],
}
CHECK = crosscheck.Check(10015, 18011, 10015, 18011, 10015, 18015, 4)


def test_added_is_the_difference_of_medians() -> None:
    extra = report.added(PER_TRAP)
    assert extra["nothing"] == 0 and extra["lpttrace"] == 600


def test_limits_of_a_trap() -> None:
    alone, of_ftrace, of_bpftrace = report.trap_limits(PER_TRAP)
    assert alone.kept and alone.value == 600
    assert of_ftrace.kept and of_ftrace.value == pytest.approx(600 / 1872)
    assert of_bpftrace.kept and of_bpftrace.value == pytest.approx(600 / 3200)
    dearer = report.trap_limits({**PER_TRAP, "lpttrace": [2676.2]})
    assert [limit.kept for limit in dearer] == [False, True, False]
    assert str(dearer[2]) == "the same, of what bpftrace adds: 0.203, at most 0.200"


def test_the_sections_have_every_figure() -> None:
    costs = {"on_kvm_entry": (120.0, 1.0), "on_destroy_vm": (500.0, 0.0001)}
    result = {
        "per_trap": PER_TRAP,
        "programs": {"empty": {"a": (66.0, 1.0), "b": (66.2, 0.5)}, "lpttrace": costs},
        "check": CHECK.__dict__,
    }
    text = report.trap_section(result)
    assert "| **lpttrace** | 2,626 | 600 | 0.04 % |" in text
    assert "| `on_kvm_entry` | 1.00 | 54 |" in text and "destroy" not in text
    assert "| system registers (SYS64) | 18,011 | 18,011 | 18,015 |" in text


def test_limits_of_the_agent() -> None:
    cost = AgentCost(45.2, 49.96, 1000.0, 2.5, 50.0, 9.25)
    memory = KernelMemory(5.0, 1331.5, ("counts",))
    limits = report.agent_limits(cost, memory, 44.0)
    assert [limit.kept for limit in limits] == [False, True, True, True, True, False]
    section = report.agent_section(limits, cost, memory)
    assert "| `lpttrace serve`: CPU time of a scrape | 50.0 ms | 50.0 ms |" in section
    assert "keeps 1,332 KiB" in section


def test_a_section_is_replaced_and_the_rest_is_not() -> None:
    text = "A\n<!-- begin x: note -->\nold\n<!-- end x -->\nB\n<!-- begin xy -->\n<!-- end xy -->\n"
    once = docs.replaced(text, "x", "new\n")
    assert once == text.replace("old", "\nnew\n")
    assert docs.replaced(once, "x", "new") == once
    assert "\\1 new" in docs.replaced(text, "xy", "\\1 new")


def test_a_document_without_the_section(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# A\n")
    with pytest.raises(docs.DocsError, match="a.md: has no section x"):
        docs.write(path, "x", "new")
    assert path.read_text() == "# A\n"


def test_the_projects_document_has_our_sections() -> None:
    from bench import cli

    for section in (cli.TRAP, cli.AGENT):
        assert docs.replaced(cli.OVERHEAD.read_text(), section, "")


def test_the_workload_gives_each_operation_its_count() -> None:
    argv = workload.command([1, 2, 3, 4, 5, 6, 7])
    assert argv[-1].startswith("0.0:hvc:0x84000000=1,hvc:0x80000000=2,")
    assert argv[-1].endswith(
        ",hvc:0xc5000020:0xc5000021=4,"
        "read:cntp_ctl_el0=5,write:cntp_ctl_el0=6,write:cntp_cval_el0=7"
    )


def test_faults_of_the_check() -> None:
    assert CHECK.faults() == []
    other = crosscheck.Check(10015, 18011, 10015, 18010, 10014, 18015, 4)
    assert other.faults() == [
        "perf's HVC64 and lpttrace's hypercalls differ: 10014 and 10015",
        "perf's SYS64 and lpttrace's timer traps with the other registers differ: 18015 and 18014",
        "issued and lpttrace's timer traps differ: 18011 and 18010",
    ]


def test_perf_kvm_stats_report() -> None:
    report_text = """
             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time

               SYS64      18015    64.16%    64.07%      5.30us     35.12us      5.54us
               HVC64      10015    35.67%    35.46%      5.26us     37.86us      5.52us
            IABT_LOW          2     0.01%     0.01%      5.30us      5.31us      5.30us

Total Samples:28077, Total events handled time:155804.48us.
"""
    exits = crosscheck.exit_counts(report_text)
    assert (exits["HVC64"], exits["SYS64"], exits["IABT_LOW"], exits["WFX"]) == (10015, 18015, 2, 0)


def test_registers_that_are_no_timers() -> None:
    # sctlr_el1 and tcr_el1 written, cntp_ctl_el0 read into x0 and x5, tcr_el1 from another register
    values = ("62300820", "62342820", "6232f801", "6232f8a1", "62342840")
    script = "".join(f"kvm:kvm_handle_sys_reg: HSR 0x{value}\n" for value in values)
    assert sorted(crosscheck.not_timers(script).values()) == [1, 2]


def test_counts_in_a_frame() -> None:
    vcpu = {
        "hypercalls": {"psci_version": {"count": 3}, "unknown": {"count": 4}},
        "timer_traps": {"cntp_ctl_el0": {"read": {"count": 5}, "write": {"count": 6}}},
    }
    frame = {"vms": [{"vcpus": [vcpu, vcpu]}, {"vcpus": []}]}
    assert crosscheck.lpttrace_counts(frame) == (14, 22)


def test_a_document_before_other_output() -> None:
    assert crosscheck.first_document('{"a": 1}\nwarning\n') == {"a": 1}


def test_what_the_tools_say_they_saw() -> None:
    assert tools.samples("[ perf record: Captured and wrote 5.9 MB a (74169 samples) ]\n") == 74169
    assert tools.samples("[ perf record: Woken up 2 times to write data ]\n") == 0
    assert tools.bpftrace_counts("@count[12]: 5\n@count[0x13]: 7\n@start[4]: 9\n") == 12
    assert tools.ring_entries("entries: 5\noverrun: 7\ncommit overrun: 0\nbytes: 100\n") == 12
    assert (
        tools.counted(
            'lpttrace_hypercalls_total{vm="1",vcpu="0",function="a"} 3.0\n'
            'lpttrace_timer_traps_total{vm="1",vcpu="0"} 1e+06\n'
            'lpttrace_timer_traps_served_total{vm="1",vcpu="0"} 7.0\n'
        )
        == 1_000_003
    )


def test_programs_that_ran() -> None:
    shown: list[dict[str, object]] = [
        {"name": "a", "run_time_ns": 1000, "run_cnt": workload.TRAPS_PER_SAMPLE},
        {"name": "b", "run_time_ns": 0, "run_cnt": 0},
        {"name": "c"},
    ]
    assert programs.by_program(shown) == {"a": (500 / workload.TRAPS_PER_SAMPLE, 1.0)}


def test_kernel_memory_of_a_vcpu() -> None:
    fewer = [{"name": "slots", "type": "array", "bytes_memlock": 128 * 4096 + 512}]
    more = [{"name": "slots", "type": "percpu_array", "bytes_memlock": 512 * 4096 + 512}]
    assert kernel_memory.compare(fewer, more) == KernelMemory(4.0 + 0.5 / 512, 0.5, ("slots",))


def test_resident_memory() -> None:
    assert live_agent.resident_kib("Name:\tlpttrace\nVmRSS:\t   48296 kB\nThreads:\t1\n") == 48296


def test_an_operation_that_was_not_seen() -> None:
    counts = dict.fromkeys(guest_side.labels(), guest_side.COUNT)
    assert guest_side.unseen(counts) == []
    del counts["trng_rnd32"]
    counts["cntp_ctl_el0 read"] -= 1
    assert guest_side.unseen(counts) == ["trng_rnd32", "cntp_ctl_el0 read"]
