# SPDX-License-Identifier: GPL-2.0-only
"""What is kept between two agents: pins and descriptors of real programs in this kernel."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from lpttrace import abi
from lpttrace.attach import Attachment
from lpttrace.doctor import kept_fact
from lpttrace.errors import LpttraceError
from lpttrace.host import NO, probe_host
from lpttrace.keep import Beside, Keeper, kept_directories, kept_elsewhere, owner
from lpttrace.live import explain_outcomes
from lpttrace.live_space import Space
from lpttrace.maps import MappedArray, delete, keys
from lpttrace.objects import is_bpffs, open_pin, pin
from lpttrace.plan import LPT_SYMBOL, symbols_wanted
from tests.lab.keeping import (
    MAX_VCPUS,
    PLAN,
    attach_afresh,
    bpffs,
    keeper_of,
    leave,
    links,
    number_of_pin,
    taken_over,
)

PINS = f"v{abi.ABI_VERSION}"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with bpffs(tmp_path) as directory:
        yield directory


@pytest.fixture
def kept(root: Path) -> Path:
    leave(root)
    return root


def test_a_file_system_is_told_from_another(root: Path) -> None:
    assert is_bpffs(root.parent) and not is_bpffs(Path("/proc"))
    with pytest.raises(FileNotFoundError):
        is_bpffs(root / "nothing")


def test_the_next_agent_has_the_same_maps_and_links(kept: Path) -> None:
    found = taken_over(kept)
    try:
        attached = {o.probe.name for o in found.outcomes if o.attached}
        assert attached == set(found.links) and "kvm_entry" in attached
        assert [o.probe for o in found.outcomes] == list(PLAN.probes)
        assert len(keys(found.maps["free_slots"], 4)) == MAX_VCPUS
        assert (found.about.max_vcpus, found.about.lpt_symbol) == (MAX_VCPUS, LPT_SYMBOL)
    finally:
        found.close()


def test_what_was_counted_is_still_there(kept: Path) -> None:
    first = taken_over(kept)
    with MappedArray(first.maps["losses"], abi.Losses, 1) as losses:
        losses.write_u64(3, 77)
    first.close()
    second = taken_over(kept)
    with MappedArray(second.maps["losses"], abi.Losses, 1) as losses:
        assert abi.Losses.from_buffer_copy(losses.copy(0)).hypercalls == 77
    second.close()


@pytest.mark.parametrize(("vcpus", "symbol"), [(17, LPT_SYMBOL), (MAX_VCPUS, "my_update")])
def test_other_options_start_afresh_and_say_so(kept: Path, vcpus: int, symbol: str) -> None:
    with keeper_of(kept, vcpus, symbol) as keeper:
        assert keeper.take_over() is None
        assert keeper.said == [
            f"the programs attached before are for {MAX_VCPUS} vCPUs and {LPT_SYMBOL}: "
            "starting afresh, all counters begin at zero"
        ]


def test_another_layout_is_told_and_replaced(kept: Path) -> None:
    (kept / PINS).rename(kept / "v1")
    with keeper_of(kept) as keeper:
        assert keeper.take_over() is None
        (said,) = keeper.said
        now = abi.ABI_VERSION
        assert said.startswith(
            f"the programs attached before have layout 1, this lpttrace has {now}:"
        )
        attachment = Attachment(PLAN)
        keeper.keep(attachment)
        attachment.close()
    assert kept_directories(kept) == {abi.ABI_VERSION: kept / PINS}


def test_what_is_half_pinned_is_no_set(kept: Path) -> None:
    (kept / PINS).rename(kept / "new")
    with keeper_of(kept) as keeper:
        attach_afresh(keeper).close()
        assert keeper.said == []
    taken_over(kept).close()


def test_a_directory_that_is_not_ours(root: Path) -> None:
    with Attachment(PLAN) as attachment, keeper_of(root) as keeper:
        (root / PINS).mkdir()
        pin(attachment.maps["tids"], root / PINS / "about")
        assert keeper.take_over() is None
        with pytest.raises(LpttraceError, match="is not what lpttrace has pinned"):
            Beside(root)


@pytest.mark.parametrize("kind", ["link", "map", "prog"])
def test_a_set_that_lacks_something_is_not_gone_on_with(kept: Path, kind: str) -> None:
    name = next(path for path in (kept / PINS).iterdir() if path.name.startswith(kind)).name
    (kept / PINS / name).unlink()
    with keeper_of(kept) as keeper:
        attach_afresh(keeper).close()
        (said,) = keeper.said
        named = name.replace("_", " ", 1)
        assert said.startswith(f"nothing has kept {named} of what was attached before")
        assert said.endswith(": starting afresh, all counters begin at zero")
        assert ("before Linux 5.15" in said) == (kind == "link")
    taken_over(kept).close()


def test_a_reader_does_without_links_but_not_without_maps(kept: Path) -> None:
    (kept / PINS / "link_kvm_entry").unlink()
    Beside(kept).close()
    (kept / PINS / "map_slots").unlink()
    with pytest.raises(LpttraceError, match="is not what lpttrace has pinned"):
        Beside(kept)


def test_a_reader_knows_what_ended_with_its_agent(kept: Path) -> None:
    # As before 5.15: an agent holds a kprobe, which nothing pins.
    (kept / PINS / "link_kvm_entry").unlink()
    facts = probe_host(symbols_wanted(LPT_SYMBOL))
    for runs in (True, False):
        with keeper_of(kept) if runs else nullcontext():
            beside = Beside(kept)
        (probe,) = (
            probe
            for probe in explain_outcomes(beside.attachment, PLAN, facts)
            if probe.name == "kvm_entry"
        )
        gone = "raw_tracepoint kvm_entry ended with the agent that attached it"
        assert (probe.attached, probe.reason) == (runs, "" if runs else gone)
        beside.close()


@pytest.mark.parametrize("options", ["remount,ro", "remount,bind,ro"])
def test_what_cannot_be_written_to(kept: Path, options: str) -> None:
    subprocess.run(["mount", "-o", options, kept.parent], check=True)
    with keeper_of(kept, 17) as keeper, attach_afresh(keeper):
        *_, said = keeper.said
        assert said == (
            f"counting ends with this process (read-only file system): make {kept.parent} writable"
        )
        assert not keeper.read_by_others() and keeper.discard() == 0


def test_a_place_that_cannot_be_written_to(root: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", root.parent], check=True)
    with keeper_of(root) as keeper, attach_afresh(keeper):
        (said,) = keeper.said
        assert said.startswith("counting ends with this process (read-only file system): make ")


def test_what_cannot_be_removed_is_told(kept: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", kept.parent], check=True)
    with keeper_of(kept) as keeper, pytest.raises(LpttraceError) as told:
        keeper.discard()
    assert str(told.value) == f"cannot remove what is under {kept}: read-only file system"


def test_what_is_not_pinned_by_us_is_in_the_way_of_nothing(kept: Path) -> None:
    (kept / PINS / "more" / "and more").mkdir(parents=True)
    with keeper_of(kept) as keeper:
        attach_afresh(keeper).close()
        (said,) = keeper.said
        assert said.startswith(f"cannot read what is under {kept / PINS}: ")
        assert said.endswith(": starting afresh, all counters begin at zero")
    taken_over(kept).close()


@contextmanager
def running_beside(root: Path, host: Path) -> Iterator[int]:
    """Another process that may attach, until the end; its number."""
    code = (
        "import sys; from pathlib import Path; from lpttrace.keep import Keeper\n"
        f"with Keeper(Path({str(root)!r}), 1, '', Path({str(host)!r})):\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "locked\n"
        yield other.pid
        other.stdin.close()


def refused(root: Path, host: Path) -> str:
    with pytest.raises(LpttraceError) as told:
        Keeper(root, 1, "", host).__enter__()
    return str(told.value)


def test_one_agent_at_a_time_and_the_other_says_who(kept: Path) -> None:
    with running_beside(kept, kept.parent) as pid:
        assert owner(kept) == pid
        said = refused(kept, kept.parent)
        assert said.startswith(f"cannot attach: process {pid} ({sys.executable} -c ")
    assert owner(kept) is None
    taken_over(kept).close()


def test_one_agent_at_a_time_where_nothing_can_be_pinned(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "lpttrace", tmp_path / "second" / "lpttrace"
    for root in (first, second):
        root.parent.mkdir()
    with running_beside(first, tmp_path) as pid:
        for root in (first, second):
            assert f"process {pid} (" in refused(root, tmp_path)
    with bpffs(second.parent), running_beside(second, tmp_path) as pid:
        assert f"process {pid} (" in refused(first, tmp_path)
        # Whoever pins elsewhere is in nobody's way.
        with bpffs(first.parent), keeper_of(first, host=tmp_path) as keeper:
            assert keeper.problem == ""
    with keeper_of(first, host=tmp_path), bpffs(second.parent):
        assert f"process {os.getpid()} (" in refused(second, tmp_path)


def test_an_owner_is_not_taken_for_that_of_another_file_system(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with ExitStack() as stack:
        for directory in (ours, theirs):
            directory.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
            stack.callback(subprocess.check_call, ["umount", directory])
        assert ours.stat().st_ino == theirs.stat().st_ino
        fd = os.open(theirs, os.O_RDONLY)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert (owner(ours), owner(theirs)) == (None, os.getpid())


def test_a_reader_is_known_as_long_as_it_reads(kept: Path) -> None:
    with keeper_of(kept) as keeper:
        assert not keeper.read_by_others()
        beside = Beside(kept)
        assert beside.is_current() and keeper.read_by_others()
        beside.close()
        assert not keeper.read_by_others()


def test_a_reader_knows_when_something_else_counts(kept: Path) -> None:
    beside = Beside(kept)
    with keeper_of(kept) as keeper:
        attachment = Attachment(PLAN)
        keeper.keep(attachment)
        attachment.close()
    assert not beside.is_current()
    beside.close()


def test_what_is_kept_in_another_place_is_found(kept: Path) -> None:
    fact = kept_fact(kept.parent / "usual")
    assert fact.state == NO and f"go on counting under {kept}" in fact.detail
    assert fact.advice.endswith(f"lpttrace unload --pin-dir {kept}")
    with keeper_of(kept):
        assert f"keeps it under {kept}" in kept_fact(kept.parent / "usual").detail
    with keeper_of(kept) as keeper:
        keeper.discard()
    assert "none has left anything" in kept_fact(kept.parent / "usual").detail


def test_what_is_kept_above_and_below_is_found(kept: Path) -> None:
    for usual in (kept.parent / "foo" / "lpttrace", kept.parent / "foo" / "bar" / "lpttrace"):
        assert kept_elsewhere(usual) == [kept]
        usual.parent.mkdir()
        assert kept_elsewhere(usual) == [kept]
        assert kept_fact(usual).advice.endswith(f"lpttrace unload --pin-dir {kept}")
    with keeper_of(usual) as keeper:
        attach_afresh(keeper).close()
    assert kept_elsewhere(kept) == [usual]
    assert kept_elsewhere(kept.parent / "foo" / "lpttrace") == sorted([kept, usual])


def test_of_no_bpf_file_system_nothing_is_searched(tmp_path: Path) -> None:
    (tmp_path / "other" / PINS).mkdir(parents=True)
    (tmp_path / "other" / PINS / "about").touch()
    assert kept_elsewhere(tmp_path / "lpttrace") == []


def test_discarding_removes_what_is_odd(kept: Path) -> None:
    for name in ("new", "zzz", f"v0{abi.ABI_VERSION}"):
        (kept / name).mkdir()
    with Attachment(PLAN) as attachment:
        pin(attachment.maps["tids"], kept / "tids")
    assert kept_directories(kept)[abi.ABI_VERSION] == kept / PINS
    with keeper_of(kept) as keeper:
        found = keeper.take_over()
        assert found is not None and keeper.said == []
        found.close()
        assert keeper.discard() > 10
    assert not kept.exists()


def test_what_is_kept_within_another_root_stays(kept: Path) -> None:
    leave(kept / "within")
    with keeper_of(kept, 17) as keeper:
        attach_afresh(keeper).close()
        assert keeper.discard() > 10
    taken_over(kept / "within").close()
    assert kept_elsewhere(kept) == [kept / "within"]


def test_discarding_detaches_everything(kept: Path) -> None:
    ours = {number_of_pin(path) for path in (kept / PINS).glob("link_*")}
    assert ours and ours <= links()
    with keeper_of(kept) as keeper:
        removed = keeper.discard()
    assert removed > 10 and not kept.exists()
    assert not ours & links()


def test_without_a_bpf_file_system_it_says_what_ends(tmp_path: Path) -> None:
    with keeper_of(tmp_path / "lpttrace") as keeper, Attachment(PLAN) as attachment:
        assert keeper.take_over() is None
        keeper.keep(attachment)
        (said,) = keeper.said
        assert said == (
            f"counting ends with this process (no bpf file system at {tmp_path}): mount -t bpf bpf "
            f"{tmp_path}"
        )
        assert not keeper.keeps and keeper.discard() == 0


def test_what_a_killed_agent_had_in_hand_is_given_back(kept: Path) -> None:
    found = taken_over(kept)
    maps = found.maps
    for name, lost in (("free_slots", (3, 9)), ("free_vms", (5,))):
        for index in lost:
            delete(maps[name], index.to_bytes(4, sys.byteorder))
    with (
        MappedArray(maps["slots"], abi.Slot, MAX_VCPUS) as slots,
        MappedArray(maps["vms"], abi.Vm, MAX_VCPUS) as vms,
    ):
        # One is in use, as its state says.
        at = 9 * slots.stride + abi.Slot.state.offset
        slots._memory[at : at + 4] = abi.STATES.index("alive").to_bytes(4, sys.byteorder)
        space = Space(maps, slots, vms)
        assert space.mend() == 2
        assert space.mend() == 0
        space.close()
    free = {name: len(keys(maps[name], 4)) for name in ("free_slots", "free_vms")}
    assert free == {"free_slots": MAX_VCPUS - 1, "free_vms": MAX_VCPUS}
    found.close()


def test_a_pin_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(OSError, match=f"No such file.*{root.name}"):
        open_pin(root / "nothing")
