# SPDX-License-Identifier: GPL-2.0-only
"""Where no BPF file system is: what systemd's descriptor store holds between two agents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpttrace import abi, notify
from lpttrace.attach import Attachment
from lpttrace.maps import MappedArray, keys
from tests.lab.keeping import (
    MAX_VCPUS,
    PLAN,
    attach_afresh,
    bpffs,
    keeper_of,
    leave,
    links,
    taken_over,
)
from tests.lab.service_manager import Manager


@pytest.fixture
def manager(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    path = tmp_path_factory.mktemp("systemd") / "notify"
    listening = Manager(path)
    listening.start()
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    yield listening
    notify.notify("STOPPING=1")
    listening.join()
    for name in {name for name, _ in listening.stored}:
        listening.drop(name)


def stored_set(root: Path, max_vcpus: int = MAX_VCPUS) -> tuple[list[str], set[str]]:
    """An agent without a BPF file system: what it says, and the names of what it has attached."""
    with keeper_of(root, max_vcpus) as keeper, attach_afresh(keeper) as attachment:
        return keeper.said, {f"link_{name}" for name in attachment.links}


def test_descriptors_come_back_from_the_store(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, attached = stored_set(tmp_path / "lpttrace")
    assert said == []
    assert {name for name in manager.names() if name.startswith("link_")} == attached
    manager.pass_on(monkeypatch)
    found = taken_over(tmp_path / "lpttrace")
    assert {f"link_{name}" for name in found.links} == attached
    assert len(keys(found.maps["free_slots"], 4)) == MAX_VCPUS
    found.close()
    assert notify.received_fds() == []


def test_the_store_has_one_set_over_changes(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_set(tmp_path / "lpttrace")
    first = manager.names()
    for max_vcpus in (17, 18, 19):
        before = manager.links()
        manager.pass_on(monkeypatch)
        (said,), _ = stored_set(tmp_path / "lpttrace", max_vcpus)
        assert said.startswith("the programs attached before are for ")
        assert manager.names() == first
        assert before and not before & links() and manager.links() <= links()
    manager.pass_on(monkeypatch)
    with keeper_of(tmp_path / "lpttrace", 19) as keeper:
        found = keeper.take_over()
        assert found is not None and keeper.said == []
        found.close()
    assert manager.names() == first


def test_of_what_was_stored_twice_the_newest_counts(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.limit = 200
    stored_set(tmp_path / "lpttrace")
    once = manager.names()
    older, manager.stored = manager.stored, []
    stored_set(tmp_path / "lpttrace")
    manager.settle()
    newer = dict(manager.stored)["map_losses"]
    with MappedArray(newer, abi.Losses, 1) as losses:
        losses.write_u64(3, 77)
    manager.stored += older
    manager.pass_on(monkeypatch)
    found = taken_over(tmp_path / "lpttrace")
    with MappedArray(found.maps["losses"], abi.Losses, 1) as losses:
        assert abi.Losses.from_buffer_copy(losses.copy(0)).hypercalls == 77
    found.close()
    # Those that nobody will ask for are gone.
    assert sorted(manager.names()) == sorted(once)


def test_what_is_stored_and_not_passed_on_is_replaced(tmp_path: Path, manager: Manager) -> None:
    stored_set(tmp_path / "lpttrace")
    once, before = manager.names(), manager.links()
    stored_set(tmp_path / "lpttrace")
    assert manager.names() == once and not before & manager.links()


def test_what_is_pinned_is_not_in_the_store(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_set(tmp_path / "lpttrace")
    with bpffs(tmp_path) as root:
        leave(root)
        assert manager.names()
        manager.pass_on(monkeypatch)
        taken_over(root).close()
    assert manager.names() == []


def test_what_the_kernel_cannot_pin_is_stored_over_a_restart_but_not_a_stop(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a kprobe before 5.15: a descriptor, but of nothing that BPF could pin.
    event, other = os.pipe()
    with bpffs(tmp_path) as root:
        with keeper_of(root) as keeper, Attachment(PLAN) as attachment:
            attachment.links["kvm_destroy_vm"] = event
            keeper.keep(attachment)
        os.close(event)
        os.close(other)
        assert manager.names() == ["link_kvm_destroy_vm"]
        manager.pass_on(monkeypatch)
        found = taken_over(root)
        assert "kvm_destroy_vm" in found.links
        found.close()
        with keeper_of(root) as keeper:
            attach_afresh(keeper).close()
            assert keeper.said == [
                "nothing has kept link kvm_destroy_vm of what was attached before (before Linux "
                "5.15 only systemd can keep a kprobe, and only over a restart): starting afresh, "
                "all counters begin at zero"
            ]
        taken_over(root).close()


def test_parts_of_two_sets_are_no_set(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_set(tmp_path / "lpttrace")
    once = manager.names()
    older, manager.stored = manager.stored, []
    # Full before all of the second is in it.
    manager.limit = 5
    stored_set(tmp_path / "lpttrace")
    manager.settle()
    manager.stored += older
    manager.limit = 64
    manager.pass_on(monkeypatch)
    (said,), _ = stored_set(tmp_path / "lpttrace")
    assert said.endswith(": starting afresh, all counters begin at zero")
    assert sorted(manager.names()) == sorted(once)


def test_descriptors_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PID", os.getppid()), ("FDS", 1), ("FDNAMES", "about")):
        monkeypatch.setenv(f"LISTEN_{name}", str(value))
    assert notify.received_fds() == []
