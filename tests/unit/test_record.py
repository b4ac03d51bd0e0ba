# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace record`, run as users run it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lpttrace.recording_reader import Recording
from lpttrace.recording_types import Frame
from tests.unit.recorded import SECOND, everything, record, synthetic
from tests.unit.test_cli import COMMAND, ROOT, run, start

QUICK = ("--synthetic", "2x2", "--interval", "100ms")


def frames_of(path: Path) -> list[Frame]:
    with Recording(str(path)) as recording:
        return list(recording.frames())


def wait_for(path: Path, size: int) -> None:
    while not path.exists() or path.stat().st_size < size:
        time.sleep(0.05)


def test_duration(tmp_path: Path) -> None:
    path = tmp_path / "a.lpt"
    done = run("record", "-o", str(path), *QUICK, "--duration", "1s")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"recorded \d+ frames in 0:00:01: [\d.]+ kB in .*/a.lpt\n", done.stderr)
    frames = frames_of(path)
    # Late frames are not made up for.
    assert 2 <= len(frames) <= 11
    first, last = frames[0].snapshot, frames[-1].snapshot
    assert last.end_ns - first.end_ns >= SECOND
    assert abs(frames[-1].unix_ns - time.time_ns()) < 3600 * SECOND
    assert {guest.name for guest in frames[0].guests.values()} == {"synthetic-0", "synthetic-1"}
    with Recording(str(path)) as recording:
        assert recording.host.source == "synthetic" and recording.host.counter_hz == 25_000_000


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "a.lpt"
    script = "echo out; sleep 0.3; exit 7"
    done = run("record", "-o", str(path), *QUICK, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.startswith("out\n")
    assert len(frames_of(path)) >= 2
    done = run("record", "-o", str(tmp_path / "b"), *QUICK, "--", "/nowhere")
    assert done.returncode == 127


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "a.lpt"
    with start("record", "-o", str(path), *QUICK) as process:
        wait_for(path, 1)
        process.send_signal(number)
        _, stderr = process.communicate()
    assert process.returncode == 0 and stderr.startswith("recorded ")
    # What was not a block yet has become one.
    assert len(frames_of(path)) >= 2


def test_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.lpt"
    with start("record", "-o", str(path), *QUICK) as process:
        wait_for(path, 8000)
        process.kill()
        process.wait()
    frames = frames_of(path)
    assert len(frames) > 50
    done = run("replay", str(path), "--once", "--json")
    assert json.loads(done.stdout)["vms"][0]["name"] == "synthetic-0"


def test_a_full_disk(tmp_path: Path) -> None:
    # A file system of its own, as root or as root of a user namespace.
    small, saved = tmp_path / "small", tmp_path / "a.lpt"
    small.mkdir()
    recording = (
        "from pathlib import Path; from lpttrace.cli_guard import guarded; "
        "from tests.unit.recorded import record, synthetic; "
        f"raise SystemExit(guarded(lambda: len(str("
        f"record(Path('{small}/a.lpt'), synthetic(4, 4, 400))))))"
    )
    script = (
        f'mount -t tmpfs -o size=64k tmpfs {small} && {{ {sys.executable} -c "{recording}"; '
        f"status=$?; cp {small}/a.lpt {saved}; exit $status; }}"
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    told = f"cannot write to {small}/a.lpt: no space left on device; what is in it can be read"
    assert (done.returncode, done.stderr) == (1, f"error: {told}\n")
    frames = frames_of(saved)
    assert len(frames) > 20 and frames == synthetic(4, 4, len(frames))
    with Recording(str(saved)) as whole:
        assert list(whole.frames()) and whole.problem is None


def test_a_recording_is_not_overwritten(tmp_path: Path) -> None:
    path = record(tmp_path / "a.lpt", everything())
    done = run("record", "-o", str(path), *QUICK, "--duration", "100ms")
    assert done.returncode == 2 and "it exists; name another, or say --overwrite" in done.stderr
    assert frames_of(path) == everything()
    done = run("record", "-o", str(path), *QUICK, "--duration", "100ms", "--overwrite")
    assert done.returncode == 0 and len(frames_of(path)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "/nowhere/a"), "cannot record to /nowhere/a: there is no directory /nowhere"),
        (("-o", "/tmp"), "cannot record to /tmp: it is a directory; name a file in it"),
        (("-o", "a", "--interval", "1y"), "cannot use --interval '1y': say a time of at least 0.1"),
        (("-o", "a", "--interval", "1ms"), "cannot use --interval '1ms': say a time of at least"),
        (("-o", "a", "--max-size", "1k"), "cannot use --max-size '1k': say a size of at least 1M"),
        (
            ("-o", "a", "--ring", "1h", "--keep", "1h"),
            "cannot use --ring with --max-size or --keep",
        ),
        ((), "missing option"),
    ],
)
def test_what_makes_no_sense(arguments: tuple[str, ...], message: str) -> None:
    done = run("record", "--synthetic", "1x1", *arguments)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}"), done.stderr


def test_files_that_replace_each_other(tmp_path: Path) -> None:
    options = ("--max-size", "1M", "--keep", "1d", "--duration", "300ms")
    done = run("record", "-o", str(tmp_path / "host.lpt"), *QUICK, *options)
    assert done.returncode == 0
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"host-\d{8}T\d{6}Z\.lpt", path.name)
    assert len(frames_of(path)) >= 2


def test_flight_recorder(tmp_path: Path) -> None:
    with start("record", "-o", str(tmp_path / "host.lpt"), *QUICK, "--ring", "10s") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told == f"SIGUSR1 to process {process.pid} writes what is kept\n"
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            assert re.match(
                r"wrote [\d.]+ kB to .*/host-\w+(-2)?\.lpt\n", process.stderr.readline()
            )
        process.send_signal(signal.SIGTERM)
        assert "kept in memory" in process.stderr.read()
    assert process.wait() == 0
    assert len(list(tmp_path.iterdir())) == 2
    assert all(frames_of(path) for path in tmp_path.iterdir())


def test_a_dump_that_is_asked_for_is_made_before_the_end(tmp_path: Path) -> None:
    with start("record", "-o", str(tmp_path / "host.lpt"), *QUICK, "--ring", "10s") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        told = process.stderr.read()
    assert process.wait() == 0 and told.startswith("wrote ")
    (path,) = tmp_path.iterdir()
    assert frames_of(path)


def test_a_dump_for_which_there_is_no_room(tmp_path: Path) -> None:
    # The ring outlives it, and can be written when there is room again.
    small = tmp_path / "small"
    small.mkdir()
    arguments = " ".join(("-o", f"{small}/host.lpt", *QUICK, "--ring", "10s"))
    script = f"""
        mount -t tmpfs -o size=64k tmpfs {small} || exit 99
        head -c 60k /dev/zero >{small}/full
        {" ".join(COMMAND)} record {arguments} 2>{tmp_path}/said &
        until grep -q SIGUSR1 {tmp_path}/said; do sleep 0.1; done
        sleep 1; kill -USR1 $!
        until grep -q goes.on {tmp_path}/said; do sleep 0.1; done
        rm {small}/full; kill -USR1 $!
        until grep -q wrote {tmp_path}/said; do sleep 0.1; done
        kill $!; wait $! && cp {small}/*.lpt {tmp_path}"""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    said = (tmp_path / "said").read_text()
    assert re.search(
        rf"warning: cannot write {small}/host-\w+\.lpt: no space left on device; recording goes on",
        said,
    ), said
    (path,) = tmp_path.glob("*.lpt")
    assert frames_of(path)


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    arguments = ("record", "-o", str(tmp_path / "a.lpt"), *QUICK, "--duration", "200ms")
    with subprocess.Popen([*COMMAND, *arguments], stderr=follower) as process:
        os.close(follower)
        told = b""
        while True:
            try:
                told += os.read(leader, 4096)
            except OSError:
                break
    os.close(leader)
    assert process.returncode == 0
    assert re.search(rb"\rrecording  2 VMs 4 vCPUs  1 frames in 0:00:\d\d  ", told)
    assert b"\r\x1b[Krecorded " in told
