# SPDX-License-Identifier: GPL-2.0-only
"""The lab's machine: QEMU's command line, the ports' streams, the payload."""

from __future__ import annotations

import itertools
import json
import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from labkit import qemu
from labkit.errors import LabError
from labkit.payload import Addition, Payload, scripts
from labkit.streams import Control, Stream
from labkit.terminal import EscapeCounter

MACHINE = qemu.Machine(image=Path("/c/Image"), rootfs=Path("/c,d/rootfs.ext4"))
RUN = qemu.Run(Path("/t,u/payload"), Path("/t,u/console"), {qemu.CONTROL: 7, qemu.TERMINAL: 8})


def command(machine: qemu.Machine) -> list[str]:
    return qemu.command(machine, RUN)


def after(argv: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(argv) if name == option]


def test_the_machine_is_a_kvm_host_without_anything_of_ours() -> None:
    argv = command(MACHINE)
    assert after(argv, "-machine") == ["virt,virtualization=on,gic-version=3"]
    assert after(argv, "-cpu") == ["cortex-a57"]
    assert after(argv, "-smp") == ["2"]
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert "-icount" not in argv


def test_what_distinguishes_machines() -> None:
    changed = replace(MACHINE, mode="vhe", cntfrq=25_000_000, smp=4, icount=True, append="quiet")
    argv = command(changed)
    assert after(argv, "-cpu") == ["max,pauth=off,sve=off,cntfrq=25000000"]
    assert after(argv, "-smp") == ["4"]
    assert after(argv, "-icount") == ["shift=1,sleep=off"]
    assert after(argv, "-append")[0].endswith(" quiet")


def test_the_disks_are_read_only_and_the_root_is_the_first() -> None:
    blocks = [json.loads(value) for value in after(command(MACHINE), "-blockdev")]
    assert all(block["read-only"] and block["file"]["read-only"] for block in blocks)
    # The board fills its slots from the last.
    files = [block["file"]["filename"] for block in blocks]
    assert files == ["/c/Image", "/t,u/payload", "/c,d/rootfs.ext4"]


def test_ports_are_the_inherited_sockets() -> None:
    argv = command(MACHINE)
    assert after(argv, "-chardev") == [
        "file,id=console,path=/t,,u/console",
        "socket,id=lab.control,fd=7",
        "socket,id=lab.terminal,fd=8",
    ]
    devices = after(argv, "-device")
    assert "virtserialport,chardev=lab.control,name=lab.control" in devices
    assert "virtserialport,chardev=lab.terminal,name=lab.terminal" in devices


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("output", [b"", b"x", b"MAR", b"MARMAR", b"a\0b\nMARK"])
def test_a_stream_is_byte_exact_however_it_is_cut(output: bytes, size: int) -> None:
    stream = Stream(b"MARKED")
    data = output + b"MARKED"
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert b"".join(stream.feed(piece) for piece in pieces) == output
    assert stream.ended
    assert stream.feed(b"late") == b""


def test_a_stream_holds_nothing_back_but_what_may_be_the_mark() -> None:
    stream = Stream(b"MARKED")
    assert stream.feed(b"prompt> ") == b"prompt> "
    assert stream.feed(b"yMAR") == b"y"
    assert stream.feed(b"z") == b"MARz"
    assert stream.feed(b"MA") == b""
    assert not stream.ended
    assert stream.rest() == b"MA"


def test_control_lines_may_come_in_pieces() -> None:
    control = Control()
    control.feed(b"runn")
    assert not control.running
    control.feed(b"ing\nsta")
    assert control.running and control.status is None
    control.feed(b"tus 14")
    assert control.status is None
    control.feed(b"3\n")
    assert control.status == 143


def test_three_escapes_in_a_row_end_the_machine() -> None:
    counter = EscapeCounter()
    assert not counter.feed(b"\x1d\x1dx\x1d")
    assert not counter.feed(b"\x1d")
    assert counter.feed(b"\x1d")


def test_additions(tmp_path: Path) -> None:
    file = tmp_path / "a:b"
    file.touch()
    assert Addition.parse(f"{file}:/x/y") == Addition(file, PurePosixPath("/x/y"))
    assert Addition.parse(f"{file}:/x/") == Addition(file, PurePosixPath("/x/a:b"))


@pytest.mark.parametrize("text", ["x", ":/y", "/etc/passwd:relative", "/nonexistent:/y"])
def test_a_wrong_addition_is_named(text: str) -> None:
    with pytest.raises(LabError, match=f"--add {text}: "):
        Addition.parse(text)


def test_a_payload_belongs_to_root_and_has_its_modes(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with Payload(tmp_path / "tar") as payload:
        payload.orders({"argv": b"a b\0\0"})
        payload.add(script, "/usr/local/bin/script")
    with tarfile.open(tmp_path / "tar") as written:
        members = {member.name: member for member in written}
        argv = written.extractfile("run.lab/argv")
        assert argv is not None and argv.read() == b"a b\0\0"
    assert members["usr/local/bin/script"].mode & 0o777 == 0o755
    assert {member.uid for member in members.values()} == {0}


def test_commands_are_the_entry_points_of_the_project() -> None:
    made = scripts('[project.scripts]\nlpttrace = "lpttrace.cli:main"\n')
    assert list(made) == ["lpttrace"]
    assert "from lpttrace.cli import main\nsys.exit(main())\n" in made["lpttrace"]
