# SPDX-License-Identifier: GPL-2.0-only
"""counter.py: its two instructions against the assembler, and what it refuses."""

from __future__ import annotations

import errno
import platform
import subprocess
from pathlib import Path

import pytest

from lpttrace import counter


def test_the_instructions_are_those_of_the_assembler(tmp_path: Path) -> None:
    (tmp_path / "a.s").write_text("mrs x0, cntfrq_el0\nret\n")
    binary = tmp_path / "a.bin"
    for tool, *arguments in (("as", "-o", "a.o", "a.s"), ("objcopy", "-Obinary", "a.o", "a.bin")):
        subprocess.run([f"aarch64-linux-gnu-{tool}", *arguments], cwd=tmp_path, check=True)
    assert binary.read_bytes() == counter._MRS_X0_CNTFRQ_RET


def test_another_architecture_has_no_such_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(OSError, match="x86_64 has no such register") as caught:
        counter.counter_frequency()
    assert caught.value.errno == errno.ENODEV
