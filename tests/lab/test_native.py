# SPDX-License-Identifier: GPL-2.0-only
"""The BPF programs on this machine's own kernel: no headers, no arm64, but a real verifier."""

from __future__ import annotations

import os
import resource
import sys
import venv
from dataclasses import replace
from pathlib import Path

import pytest

from lpttrace import attach, loader
from lpttrace.attach import Attachment
from lpttrace.errors import BccError
from lpttrace.host import probe_host
from lpttrace.live import explain_outcomes
from lpttrace.maps import lookup_u32
from lpttrace.plan import PROBES, Plan, make_plan, symbols_wanted

FACTS = probe_host(symbols_wanted("kvm_update_lpt_time"))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(FACTS, max_vcpus=16)


def cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_every_program_passes_the_verifier_in_under_two_seconds(plan: Plan) -> None:
    before = cpu_seconds_of_children()
    with Attachment(plan) as attachment:
        outcomes = {outcome.probe.name: outcome for outcome in attachment.outcomes}
    assert cpu_seconds_of_children() - before < 2.0
    # An errno means that the program was loaded and only its hook is not in this kernel.
    refused = {name: o.detail for name, o in outcomes.items() if not o.attached and not o.code}
    assert refused == {}
    assert {"kvm_entry", "kvm_exit", "kvm_userspace_exit"} <= {
        name for name, outcome in outcomes.items() if outcome.attached
    }


def test_what_this_kernel_lacks_is_named(plan: Plan) -> None:
    with Attachment(plan) as attachment:
        probes = {probe.name: probe for probe in explain_outcomes(attachment, FACTS)}
    assert probes["kvm_hvc_arm64"].reason == "this kernel has no tracepoint kvm_hvc_arm64"
    assert set(probes) == {probe.name for probe in PROBES}
    assert all(probe.attached or probe.reason for probe in probes.values())


def test_maps_arrive_filled_and_detaching_closes_every_descriptor(plan: Plan) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Attachment(plan) as attachment:
        assert set(attachment.maps) == set(loader.MAPS)
        assert lookup_u32(attachment.maps["tids"], bytes(4)) is None
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_agent_never_maps_llvm(plan: Plan) -> None:
    with Attachment(plan):
        mapped = Path("/proc/self/maps").read_text()
    assert "libbcc" not in mapped and "libLLVM" not in mapped
    assert "bcc" not in sys.modules


def test_programs_compile_without_a_warning(plan: Plan, tmp_path: Path) -> None:
    answer, fds = attach.ask_loader("/usr/bin/python3", plan, ["-Wall", "-Werror"])
    for fd in fds:
        os.close(fd)
    assert answer["ok"], answer


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=False, symlinks=True)
    return directory / "bin" / "python"


def test_bcc_missing(plan: Plan, bare_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "interpreters", lambda: iter([str(bare_python)]))
    with pytest.raises(BccError, match="cannot import bcc: .*; install python3-bpfcc"):
        Attachment(plan)


def test_the_wrong_bcc(plan: Plan, bare_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = next(bare_python.parent.parent.glob("lib/python*/site-packages"))
    (site / "bcc").mkdir()
    # As PyPI's package, it has no class BPF.
    (site / "bcc" / "__init__.py").write_text('"""N-dim invertible BCC lattice"""\n')
    monkeypatch.setattr(attach, "interpreters", lambda: iter([str(bare_python)]))
    with pytest.raises(BccError, match=r"bcc/__init__.py: it is PyPI's .*pip uninstall bcc"):
        Attachment(plan)


def test_a_wrong_bcc_does_not_hide_the_distributions(plan: Plan, bare_python: Path) -> None:
    def both() -> list[str]:
        return [str(bare_python), "/usr/bin/python3"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attach, "interpreters", lambda: iter(both()))
        with Attachment(plan) as attachment:
            assert attachment.maps


def test_a_program_that_does_not_compile_says_where(plan: Plan) -> None:
    broken = replace(plan, defines={**plan.defines, "LPT_HVC_UNKNOWN": 1})
    with pytest.raises(BccError, match=r"cannot compile .*main.c:\d+:\d+: error"):
        Attachment(broken)
