# SPDX-License-Identifier: GPL-2.0-only
"""What lpttrace says where something is missing: one line, what, why, what to do, no traceback."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.conftest import LabRun

# Case: exit status, and what the one line on stderr says.
ERRORS = {
    "not root": (4, "uid 65534 has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON; run it as"),
    "no kvm": (3, "/dev/kvm does not exist"),
    "no btf": (3, "cannot read /sys/kernel/btf/vmlinux: No such file or directory; boot a kernel"),
    "no bcc": (5, "cannot import bcc: No module named 'bcc'; install python3-bpfcc"),
    "wrong bcc": (5, "it is PyPI's package about crystal lattices; remove it (pip uninstall bcc)"),
    "lockdown": (4, "the kernel is locked down for confidentiality"),
}


@pytest.fixture(scope="module")
def cases(lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, dict[str, Any]]:
    done = lab(["--timeout", "1800"], ["python3", "/tmp/guest/errors.py"])
    assert done.status == 0, done.stderr
    result: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("case", ERRORS)
def test_error(cases: dict[str, dict[str, Any]], case: str) -> None:
    status, text = ERRORS[case]
    said = cases[case]["stderr"]
    assert cases[case]["status"] == status
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert text in said
    assert cases[case]["stdout"] == ""


def test_no_traceback_anywhere(cases: dict[str, dict[str, Any]]) -> None:
    said = "".join(str(case.get("stdout")) + str(case.get("stderr")) for case in cases.values())
    assert "Traceback" not in said and "Exception" not in said


def test_a_good_host_gets_no_warning(cases: dict[str, dict[str, Any]]) -> None:
    assert (cases["fine"]["status"], cases["fine"]["stderr"]) == (0, "")
    assert all(p["attached"] for p in json.loads(cases["fine"]["stdout"])["probes"].values())
    assert cases["doctor"]["status"] == 0


def test_no_free_slot_is_told_and_counted(cases: dict[str, dict[str, Any]]) -> None:
    frame = json.loads(cases["no slot"]["stdout"])
    assert cases["no slot"]["status"] == 0
    assert frame["losses"]["no_slot"] == 2
    assert sum(len(vm["vcpus"]) for vm in frame["vms"]) == 2
    assert frame["losses"]["hypercalls"] >= 22
    said = "warning: no free slot for 2 vCPUs: they are not counted; raise --max-vcpus\n"
    # What COMMAND says is there too, before or after it.
    assert cases["no slot"]["stderr"].count(said) == 1


def test_refused_vms_are_counted_once_each(cases: dict[str, dict[str, Any]]) -> None:
    frame = json.loads(cases["no record"]["stdout"])
    assert (frame["losses"]["no_vm"], len(frame["vms"])) == (2, 2)
    assert frame["losses"]["not_remembered"] == 0
    assert frame["losses"]["hypercalls"] >= 2 * 20 * 11


def test_refused_vcpus_are_counted_once_each(cases: dict[str, dict[str, Any]]) -> None:
    frame = json.loads(cases["crowd"]["stdout"])
    assert frame["losses"]["no_slot"] == 7
    assert frame["losses"]["not_remembered"] == 0
    (vm,) = frame["vms"]
    (vcpu,) = vm["vcpus"]
    assert vcpu["hypercalls"]["psci_version"]["count"] == 20 * 11


def test_slots_are_given_back_without_a_scrape(cases: dict[str, dict[str, Any]]) -> None:
    case = cases["one after another"]
    assert case["status"] == 0
    lines = case["stdout"].splitlines()
    counts = [
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("lpttrace_hypercalls_total") and "psci_version" in line
    ]
    assert counts == [11] * 12
    assert "lpttrace_vcpus_without_slot_total 0" in lines
    assert "lpttrace_lost_hypercalls_total 0" in lines


def test_a_missing_lpt_symbol_stops_nothing_else(cases: dict[str, dict[str, Any]]) -> None:
    case = cases["no lpt symbol"]
    probes = json.loads(case["stdout"])["probes"]
    assert case["status"] == 0
    assert {name for name, probe in probes.items() if not probe["attached"]} == {
        "kvm_update_lpt_time",
        "kvm_update_lpt_time_return",
    }
    assert "warning: this kernel has no function no_such_function" in case["stderr"]


def test_without_kprobes_the_rest_is_still_exact(cases: dict[str, dict[str, Any]]) -> None:
    # Who runs which vCPU is then known from kvm_running_vcpu alone.
    case = cases["kprobes off"]
    frame = json.loads(case["stdout"])
    (vm,) = frame["vms"]
    assert case["status"] == 0
    assert vm["lpt"] is None and not frame["probes"]["kvm_arch_vcpu_load"]["attached"]
    versions = {v["vcpu"]: v["hypercalls"]["psci_version"]["count"] for v in vm["vcpus"]}
    assert versions == {0: 11, 1: 11, 2: 11}
    assert set(frame["losses"].values()) == {0}
    assert "warning: kprobes are switched off on this host" in case["stderr"]


@pytest.mark.parametrize("case", ["ipa only", "freq only"])
def test_wrong_attributes_are_a_failed_update(cases: dict[str, dict[str, Any]], case: str) -> None:
    (vm,) = json.loads(cases[case]["stdout"])["vms"]
    assert vm["lpt"]["state"] == "failed"
    assert (vm["lpt"]["last_error"], vm["lpt"]["last_error_name"]) == (22, "EINVAL")
    assert set(vm["lpt"]["updates"]) == {"einval"}
    assert vm["lpt"]["updates"]["einval"]["count"] >= 1
    assert vm["lpt"]["structure"] is None


def test_no_tracefs_is_a_warning(cases: dict[str, dict[str, Any]]) -> None:
    case = cases["no tracefs"]
    assert case["status"] == 0
    assert "warning: tracefs is not mounted" in case["stderr"]
    assert "mount -t tracefs" in case["stderr"]


def test_nothing_is_left_attached(cases: dict[str, dict[str, Any]]) -> None:
    assert cases["left"]["kprobes"] == 0


@pytest.mark.parametrize(("case", "status"), [("doctor not root", 4), ("doctor in lockdown", 4)])
def test_the_doctor_has_the_same_verdict(
    cases: dict[str, dict[str, Any]], case: str, status: int
) -> None:
    assert cases[case]["status"] == status
    assert "verdict: nothing can be measured" in cases[case]["stdout"]


def test_another_architecture() -> None:
    assert platform.machine() != "aarch64"
    command = [sys.executable, "-m", "lpttrace", "top", "--once"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot trace KVM on this host: x86_64, not aarch64; ")
    assert done.stderr.count("\n") == 1
