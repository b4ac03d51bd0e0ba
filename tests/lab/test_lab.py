# SPDX-License-Identifier: GPL-2.0-only
"""The lab itself: what a command in the machine says, and how it ends, reach the caller whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.conftest import LAB, REPOSITORY, LabRun

Lab = Callable[[list[str], list[str]], LabRun]

KERNELS = tomllib.loads((REPOSITORY / "deploy" / "lab" / "kernels.toml").read_text())


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + 15), ("no_such_command", 127)],
)
def test_the_commands_own_status(lab: Lab, script: str, status: int) -> None:
    assert lab([], ["sh", "-c", script]).status == status


def test_arguments_and_both_streams_arrive_unchanged(lab: Lab) -> None:
    words = ["", "two  spaces", "'", '"', "$HOME", "*", "--", "back\\slash", "new\nline", "ü"]
    done = lab([], ["sh", "-c", 'printf "%s|" "$@"; printf "%s" "$2" >&2', "sh", *words])
    assert done.stdout == "".join(f"{word}|" for word in words)
    assert done.stderr == words[1]


def test_a_megabyte_is_byte_exact(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "data").write_bytes(data)
    added = ["--add", f"{tmp_path / 'data'}:/tmp/data"]
    done = subprocess.run(
        [LAB, "run", *added, "--", "cat", "/tmp/data"], capture_output=True, check=True
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("options", "script", "said"),
    [
        ([], "echo c >/proc/sysrq-trigger", "sysrq triggered crash"),
        ([], "echo o >/proc/sysrq-trigger; sleep 100", "lost"),
        (["--timeout", "15"], "sleep 1000", "15 s"),
    ],
)
def test_a_lost_machine_has_its_own_status(
    lab: Lab, options: list[str], script: str, said: str
) -> None:
    done = lab(options, ["sh", "-c", script])
    assert done.status == 125
    assert said in done.stderr


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mode", ["nvhe", "vhe"])
def test_a_kernel_keeps_its_rows_promise(lab: Lab, kernel: str, mode: str) -> None:
    options = ["--kernel", kernel, "--mode", mode, "--cntfrq", "25000000", "--smp", "3"]
    script = "nproc; grep -c kvm_update_lpt_time /proc/kallsyms; dmesg | grep -i 'kvm \\['"
    done = lab(options, ["sh", "-c", f"{script}; dmesg | grep 'arch_timer: cp15'"])
    cpus, symbols, *messages = done.stdout.splitlines()
    assert cpus == "3"
    assert (symbols != "0") == KERNELS[kernel]["lpt"]
    text = "\n".join(messages)
    assert ("]: VHE mode initialized" in text) == (mode == "vhe")
    assert "25.00MHz" in text
