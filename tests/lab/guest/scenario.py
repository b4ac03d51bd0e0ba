# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: a workload under `serve` and `top` at once, all they said as JSON.

Afterwards, under `serve` alone, two vCPUs on one CPU, which take timer interrupts and wait for each
other.

Usage: scenario.py main LABVMM_ARGUMENTS... | scenario.py workload RESULT LABVMM_ARGUMENTS...
Standard library only.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULT = Path("/tmp/workload.json")
ADDRESS = "http://127.0.0.1:9753/metrics"
TIMED = (
    *("--vm", "vcpus=2,stolen=on"),
    *("--ops", "*.*:tick:physical=41,tick:virtual=61,hvc:0x84000000=30011"),
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(accept: str) -> dict[str, str]:
    request = urllib.request.Request(ADDRESS, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as response:
        return {"type": response.headers["Content-Type"], "text": response.read().decode()}


def kvm_statistics() -> dict[str, dict[str, int]]:
    """KVM's own counts by VM, e.g. "70-3"."""
    return {
        vm.name: {name: int((vm / name).read_text()) for name in ("exits", "hvc_exit_stat")}
        for vm in Path("/sys/kernel/debug/kvm").glob("*-*")
    }


def run_delays(truth: dict[str, Any]) -> dict[str, int]:
    """Nanoseconds that each vCPU's thread has waited for a CPU, by tid."""
    return {
        str(vcpu["tid"]): int(
            Path(f"/proc/{vm['pid']}/task/{vcpu['tid']}/schedstat").read_text().split()[1]
        )
        for vm in truth["vms"]
        for vcpu in vm["vcpus"]
    }


def look(arguments: Iterable[str], prefix: Iterable[str] = ()) -> dict[str, Any]:
    """Run labvmm, look at it while its VMs still stand, and let it go."""
    command = [*prefix, "labvmm", "--hold", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as vmm:
        assert vmm.stdin and vmm.stdout
        truth, _ = json.JSONDecoder().raw_decode(read_document(vmm.stdout))
        seen = {"truth": truth, "kvm": kvm_statistics(), "alive": scrape("text/plain")}
        seen["run_delay"] = run_delays(truth)
        vmm.stdin.close()
    return {**seen, "labvmm_status": vmm.returncode}


def read_document(stream: Any) -> str:
    """The text of one JSON document, up to the line that completes it."""
    text: str = ""
    for line in stream:
        text += str(line)
        try:
            json.loads(text)
        except json.JSONDecodeError:
            continue
        return text
    raise SystemExit(f"labvmm ended without its report: {text!r}")


def run_top(arguments: list[str]) -> dict[str, Any]:
    inner = [sys.executable, __file__, "workload", str(RESULT), *arguments]
    command = ["lpttrace", "top", "--once", "--json", "--", *inner]
    top = subprocess.run(command, capture_output=True, text=True)
    if top.returncode:
        raise SystemExit(f"top ended with {top.returncode}: {top.stderr}")
    return {"frame": json.loads(top.stdout), "stderr": top.stderr}


def main(arguments: list[str]) -> None:
    serve = subprocess.Popen(["lpttrace", "serve"], stderr=subprocess.PIPE, text=True)
    assert serve.stderr
    said = []
    for line in serve.stderr:
        said.append(line)
        if line.startswith("listening"):
            break
    top = run_top(arguments)
    after = {"text": scrape("text/plain"), "openmetrics": scrape(OPENMETRICS)}
    timed = look(TIMED, ("taskset", "-c", "0"))
    serve.send_signal(signal.SIGTERM)
    doctor = subprocess.run(["lpttrace", "doctor", "--json"], capture_output=True, text=True)
    report = {
        "top": top,
        "workload": json.loads(RESULT.read_text()),
        "after": after,
        "timed": timed,
        "serve": {"status": serve.wait(), "stderr": said},
        "doctor": {"status": doctor.returncode, "report": json.loads(doctor.stdout)},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "main":
        main(sys.argv[2:])
    else:
        Path(sys.argv[2]).write_text(json.dumps(look(sys.argv[3:])))
