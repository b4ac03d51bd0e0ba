# SPDX-License-Identifier: GPL-2.0-only
"""Names and labels of VMs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

import psutil
import pytest

from lpttrace.guests import Guests, Process, read_process
from lpttrace.guests_command import identity_of
from lpttrace.guests_libvirt import Domains
from lpttrace.maps_ledger import PLACES
from lpttrace.snapshot import Snapshot, VmCounters, VmKey

QEMU = "qemu-system-aarch64"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("-name web", "web"),
        ("-name guest=web,debug-threads=on", "web"),
        ("-name debug-threads=on,guest=web", "web"),
        ("-name web,process=qemu:web", "web"),
        ("--name web", "web"),
        ("-name guest=a,,b,debug-threads=on", "a,b"),
        ("-name a,,b", "a,b"),
        ("-name guest=a,,,,b", "a,,b"),
        ("-name guest=a,,", "a,"),
        ("-name guest=a=b", "a=b"),
        ("-name old -name new", "new"),
        ("-name guest=one,guest=two", "two"),
        ("-name debug-threads=on", ""),
        ("-name guest=", ""),
        ("-name", ""),
        ("-m 4096", ""),
    ],
)
def test_qemu_names(command: str, name: str) -> None:
    assert identity_of(QEMU, [QEMU, *command.split()]).name == name


def snapshot(*vms: tuple[int, int, bool]) -> Snapshot:
    """VMs as (seen_ns, tgid, alive)."""
    counters = [
        VmCounters(VmKey(index, seen), pid, alive, None)
        for index, (seen, pid, alive) in enumerate(vms)
    ]
    return Snapshot(0, 0, tuple(counters), (), (), {})


class Proc:
    """A process table."""

    def __init__(self, processes: Mapping[int, Sequence[str]]) -> None:
        self.processes = dict(processes)

    def __call__(self, pid: int) -> Optional[Process]:
        command = self.processes.get(pid)
        return Process(command[0], command) if command is not None else None


def names(guests: Guests, now: Snapshot) -> list[tuple[str, str]]:
    found = guests.identify(now)
    return [(found[vm.key].vm, found[vm.key].name) for vm in now.vms]


def test_one_process_may_have_several_vms() -> None:
    guests = Guests(Proc({7: ["vmm"], 8: ["qemu", "-name", "web", "-uuid", "u-u"]}))
    now = snapshot((2, 7, True), (1, 7, True), (3, 8, True))
    assert names(guests, now) == [("7-2", "vmm[7]"), ("7", "vmm[7]"), ("8", "web")]
    assert guests.identify(now)[now.vms[2].key].uuid == "u-u"


def test_the_source_knows_which_vm_of_its_process_it_is() -> None:
    """An agent that came later than the first VM went."""
    guests = Guests(Proc({7: ["vmm"]}))
    now = snapshot((2, 7, True), (3, 7, True))
    told = [replace(vm, number=number) for vm, number in zip(now.vms, (2, 0))]
    labels = [label for label, _ in names(guests, replace(now, vms=tuple(told)))]
    assert labels == ["7-2", "7-3"]


def test_labels_are_never_given_twice() -> None:
    proc = Proc({7: ["vmm"]})
    guests = Guests(proc)
    assert names(guests, snapshot((1, 7, True))) == [("7", "vmm[7]")]
    assert names(guests, snapshot()) == []
    proc.processes[7] = ["other"]
    assert names(guests, snapshot((9, 7, True))) == [("7-2", "other[7]")]


def test_the_dead_keep_their_names() -> None:
    proc = Proc({7: ["vmm"]})
    guests = Guests(proc)
    now = snapshot((1, 7, True))
    names(guests, now)
    proc.processes[7] = ["somebody else by now"]
    assert names(guests, snapshot((1, 7, False))) == [("7", "vmm[7]")]


def test_who_was_never_seen_alive_is_not_taken_for_somebody_else() -> None:
    guests = Guests(Proc({7: ["somebody else by now"]}))
    assert names(guests, snapshot((1, 7, False))) == [("7", "?[7]")]


def test_a_name_may_come_later() -> None:
    proc = Proc({})
    guests = Guests(proc)
    assert names(guests, snapshot((1, 7, True))) == [("7", "?[7]")]
    proc.processes[7] = ["vmm"]
    assert names(guests, snapshot((1, 7, True))) == [("7", "vmm[7]")]


def test_snapshots_come_in_any_order() -> None:
    guests = Guests(Proc({7: ["vmm"]}))
    now = snapshot((1, 7, True), (2, 7, True))
    names(guests, now)
    turned = replace(now, vms=now.vms[::-1])
    assert [label for label, _ in names(guests, turned)] == ["7-2", "7"]


XML = """<domstatus state='running' pid='{pid}'><domain><name>{name}</name><uuid>{uuid}</uuid>
<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
<nova:name>{nova}</nova:name></nova:instance></metadata></domain></domstatus>"""


class Libvirt:
    """A directory as libvirt keeps it, and the VM with pid 7 and UUID u-7 that runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.proc = Proc({7: ["qemu-kvm", "-name", "guest=old", "-uuid", "u-7"]})
        self.guests = Guests(self.proc, Domains(directory))

    def write(self, name: str, nova: str = "", pid: int = 7, uuid: str = "u-7") -> None:
        text = XML.format(name=name, nova=nova, pid=pid, uuid=uuid)
        (self.directory / f"{name}.xml").write_text(text)

    def names(self, alive: bool = True, seen_ns: int = 1) -> tuple[str, str, str]:
        """The VM's name, and libvirt's and OpenStack's."""
        now = snapshot((seen_ns, 7, alive))
        guest = self.guests.identify(now)[now.vms[0].key]
        return guest.name, guest.libvirt_name, guest.openstack_name


@pytest.fixture
def libvirt(tmp_path: Path) -> Libvirt:
    return Libvirt(tmp_path)


def test_libvirt_may_tell_later_and_more(libvirt: Libvirt) -> None:
    assert libvirt.names() == ("old", "", "")
    libvirt.write("old")
    assert libvirt.names() == ("old", "old", "")
    libvirt.write("old", "web shop")
    assert libvirt.names() == ("old", "old", "web shop")


def test_a_vm_that_is_renamed(libvirt: Libvirt) -> None:
    libvirt.write("old", "web")
    assert libvirt.names() == ("old", "old", "web")
    (libvirt.directory / "old.xml").unlink()
    libvirt.write("new", "web 2")
    # Its command line stays as it is.
    assert libvirt.names() == ("old", "new", "web 2")


def test_a_vm_that_ends_keeps_what_libvirt_called_it(libvirt: Libvirt) -> None:
    libvirt.write("old", "web")
    libvirt.names()
    (libvirt.directory / "old.xml").unlink()
    assert libvirt.names() == libvirt.names(alive=False) == ("old", "old", "web")


def test_a_pid_that_is_used_again(libvirt: Libvirt) -> None:
    libvirt.write("old", "web")
    libvirt.names()
    libvirt.guests.identify(snapshot())
    # The file of the first VM was left behind.
    libvirt.proc.processes[7] = ["qemu-kvm", "-name", "guest=next", "-uuid", "u-8"]
    assert libvirt.names(seen_ns=9) == ("next", "", "")
    libvirt.write("next", "db", uuid="u-8")
    assert libvirt.names(seen_ns=9) == ("next", "next", "db")


def test_a_dead_vm_is_not_taken_for_the_next_one_with_its_pid(libvirt: Libvirt) -> None:
    libvirt.names()
    libvirt.write("old", "somebody else by now")
    assert libvirt.names(alive=False) == ("old", "", "")


def test_a_real_vmm(tmp_path: Path) -> None:
    vmm = str(tmp_path / "qemu-system-aarch64")
    shutil.copy("/bin/sh", vmm)
    script = "echo ready; read line"
    command = [vmm, "-c", script, "-name", "guest=web,debug-threads=on", "-uuid", "u-u"]
    command += ["-smbios", "type=1,product=OpenStack Nova"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        text = XML.format(pid=process.pid, name="instance-1", uuid="u-u", nova="shop")
        (tmp_path / "instance-1.xml").write_text(text)
        now = snapshot((1, process.pid, True))
        found = Guests(domains=Domains(tmp_path)).identify(now)[now.vms[0].key]
    assert (found.vmm, found.name, found.uuid) == ("qemu", "web", "u-u")
    assert (found.product, found.libvirt_name) == ("OpenStack Nova", "instance-1")
    assert found.openstack_name == "shop"


def test_a_real_process() -> None:
    process = read_process(os.getpid())
    assert process is not None
    assert process.executable == os.path.basename(os.path.realpath(sys.executable))


def test_no_such_process() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert read_process(child.pid) is None


def test_a_zombie() -> None:
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        process = read_process(child.pid)
        assert process is None or process.executable == "true"
    finally:
        child.wait()


def test_names_that_are_no_utf8() -> None:
    command = [b"/bin/sh", b"-c", b"echo ready; read line", b"-name", b"caf\xe9\x1b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        # Popen returns when exec has begun; /proc has the arguments only when it is done.
        assert shell.stdout and shell.stdout.readline() == b"ready\n"
        process = read_process(shell.pid)
        assert process is not None
        name = identity_of(process.executable, process.command).name
        assert name == "caf\ufffd\x1b"
        name.encode("utf-8")


@pytest.mark.parametrize("error", [psutil.AccessDenied(7), OSError(5, "io"), ValueError("odd")])
def test_whatever_proc_says(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object) -> None:
        raise error

    for method in ("exe", "name", "cmdline"):
        monkeypatch.setattr(psutil.Process, method, refuse)
    assert read_process(os.getpid()) is None
    monkeypatch.setattr(psutil, "Process", refuse)
    assert read_process(os.getpid()) is None


def test_labels_of_processes_that_have_gone_take_no_more_room_than_there_is() -> None:
    guests = Guests(Proc({}))
    for pid in range(1, PLACES + 3):
        guests.identify(snapshot((pid, pid, False)))
        # One goes on making VMs.
        guests.identify(snapshot((PLACES * 2 + pid, 1, False)))
    assert len(guests._labels_of_pid) == PLACES
    label = guests.identify(snapshot((PLACES * 4, 1, False)))[VmKey(0, PLACES * 4)].vm
    assert label == f"1-{PLACES + 4}"
