# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: what Prometheus would be answered once a second, as a JSON list.

Guests do all that there is to be seen meanwhile. Standard library only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request

ADDRESS = "http://127.0.0.1:9753/metrics"
SECONDS = 30
# A VM with LPT and stolen time that also asks for what nobody knows, one that is refused LPT for
# half its attributes, and a Linux that sleeps on the physical timer.
OPS = "*.*:hvc:0x84000000=9,hvc:0xc6001234=7,read:cntp_ctl_el0=5,write:cntp_cval_el0=3"
FIRED = re.compile(r'^lpttrace_timer_interrupts_total{.*timer="physical".*} [1-9]', re.MULTILINE)
VMMS = (
    ["labvmm", "--forever", "--spin", "2000", "--ops", OPS]
    + ["--vm", "vcpus=2,name=one,lpt=try,pv-freq=100000000,stolen=try", "--vm", "vcpus=1"],
    ["lablinux", "--timer", "physical", "--sleep-us", "10000", "--sleeps", "100000"],
    ["labvmm", "--vm", "vcpus=1,lpt=ipa-only"],
)


def scrape() -> str:
    with urllib.request.urlopen(ADDRESS, timeout=120) as response:
        text: str = response.read().decode()
    return text


def main() -> None:
    command = ["lpttrace", "serve", "--no-keep", "--bpf-stats"]
    serve = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert serve.stderr
    while not serve.stderr.readline().startswith("listening"):
        pass
    nowhere = subprocess.DEVNULL
    vmms = [subprocess.Popen(argv, stdout=nowhere, stderr=nowhere) for argv in VMMS]
    # The Linux guest boots; on a busy machine that takes longer than all that follows.
    while not FIRED.search(scrape()):
        time.sleep(1)
    scrapes = []
    due = time.monotonic()
    for _ in range(SECONDS):
        scrapes.append(scrape())
        due += 1
        time.sleep(max(0.0, due - time.monotonic()))
    for vmm in vmms:
        vmm.kill()
    serve.terminate()
    json.dump(scrapes, sys.stdout)


if __name__ == "__main__":
    main()
