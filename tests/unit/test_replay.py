# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace replay`, `serve --replay` and `export`, run as users run them."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from lpttrace.recording_types import Frame
from tests.contract.dashboards import TOOLS
from tests.unit.conftest import NASTY
from tests.unit.recorded import BEGIN, HOST, SECOND, everything, record, synthetic
from tests.unit.recordings import Plan
from tests.unit.recordings import record as planned
from tests.unit.test_cli import COMMAND, ROOT, run, start


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of two VMs, from 14:13:20."""
    return record(tmp_path_factory.mktemp("hour") / "a.lpt", synthetic(2, 2, 361, 10 * SECOND))


def documents(*arguments: str) -> list[dict[str, Any]]:
    done = run("replay", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_replay_once_is_about_all_of_it(hour: Path) -> None:
    (document,) = documents(str(hour), "--once")
    assert document["time"] == "2026-09-21T15:13:20.000Z"
    assert document["interval_seconds"] == 3600.0
    assert [vm["name"] for vm in document["vms"]] == ["synthetic-0", "synthetic-1"]


def test_replay_has_vms_that_ended(tmp_path: Path) -> None:
    (document,) = documents(str(record(tmp_path / "a", everything())), "--once")
    assert [(vm["name"], vm["alive"]) for vm in document["vms"]] == [
        *(("migrated", True), ("asker", True), ("renamed 名前", True)),
    ]


@pytest.mark.parametrize(
    ("options", "first", "frames", "seconds"),
    [
        ((), "14:13:30", 360, 10),
        (("--interval", "10m"), "14:23:20", 6, 600),
        (("--from", "30m", "--until", "31m"), "14:43:30", 6, 10),
        (("--from", "14:20", "--until", "14:20:30"), "14:20:10", 3, 10),
        (("--from", "2026-09-21T14:20:00Z", "--count", "2"), "14:20:10", 2, 10),
        (("--from", "13:00", "--until", "2026-09-22T00:00"), "", 0, 0),
    ],
)
def test_windows(
    hour: Path, options: tuple[str, ...], first: str, frames: int, seconds: float
) -> None:
    if not frames:
        done = run("replay", "--json", str(hour), *options)
        assert done.returncode == 1 and "no frame was recorded then" in done.stderr
        return
    found = documents(str(hour), *options)
    assert len(found) == frames
    assert found[0]["time"] == f"2026-09-21T{first}.000Z"
    assert {document["interval_seconds"] for document in found} == {seconds}


def test_replay_as_text(hour: Path) -> None:
    done = run("replay", str(hour), "--once", "--vcpus", "--classes", "--sort", "timer-traps")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "lpttrace  replay  2026-09-21T15:13:20Z  interval 3600.00 s  2 VMs"
    )
    assert "vendor_hyp_kvm_ptp" in done.stdout


@pytest.mark.parametrize("command", [("replay", "--once"), ("export", "--to", "csv")])
def test_damaged(hour: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "a"
    path.write_bytes(hour.read_bytes()[:-10])
    done = run(*command, str(path))
    assert done.returncode == 0 and done.stdout
    assert re.fullmatch(
        r"warning: .*/a is cut off or damaged at byte \d+ of \d+: .*\n", done.stderr
    )
    path.write_bytes(hour.read_bytes()[:100])
    done = run(*command, str(path))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"error: cannot read {path}: it is damaged before its first frame\n"


def test_serve(hour: Path) -> None:
    with start("serve", "--replay", str(hour), "--listen", "127.0.0.1:0") as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        with urllib.request.urlopen(url) as answer:
            text = answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert 'source="replay"' in text and 'release="6.1.0-42-arm64"' in text
    assert "lpttrace_vm_info{" in text and 'name="synthetic-1"' in text
    # The first frame was 10 s after the counters began.
    (line,) = re.findall(
        r'^lpttrace_timer_interrupts_total\{.*vcpu="0",vm="1001"\} (\d+)', text, re.M
    )
    assert 1000 < int(line) < 4000


def test_when_lpt_was_published_does_not_change_at_the_end(tmp_path: Path) -> None:
    path = record(tmp_path / "a", synthetic(4, 1, 1))
    with start("serve", "--replay", str(path), "--listen", "127.0.0.1:0") as process:
        assert process.stderr is not None
        url, found = process.stderr.readline().split()[-1], []
        for _ in range(2):
            with urllib.request.urlopen(url) as answer:
                text = answer.read().decode()
            found.append(re.findall(r"^lpttrace_lpt_published_timestamp.*\{.*", text, re.M))
            time.sleep(0.3)
    assert found[0] == found[1] and found[0]


def scraped(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_json_and_parquet_have_the_same(hour: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"a.{form}" for form in ("csv", "json", "parquet")}
    for form, path in files.items():
        options = ("--interval", "20m", "-o", str(path))
        done = run("export", str(hour), "--to", form, *options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = scraped(files["csv"])
    lines = [json.loads(line) for line in files["json"].read_text().splitlines()]
    table = pyarrow.parquet.read_table(files["parquet"]).to_pylist()
    assert len(rows) == len(lines) == len(table) > 2000
    assert len({row["time"] for row in rows}) == 4
    for row, line, other in zip(rows, lines, table):
        labels = {name: row[name] for name in row if row[name]}
        for name in ("time", "metric", "value", "name"):
            labels.pop(name, None)
        assert labels == line["labels"]
        assert {name: str(other[name]) for name in labels} == labels
        assert row["time"] == line["time"] and other["time"].isoformat()[:19] == row["time"][:19]
        assert row["metric"] == line["metric"] == other["metric"]
        assert float(row["value"]) == line["value"] == other["value"]
        assert row["name"] == line.get("name", "") == (other["name"] or "")


def test_values_are_those_of_the_frames(tmp_path: Path) -> None:
    frames = synthetic(1, 2, 1)
    path = record(tmp_path / "a", frames)
    run("export", str(path), "--to", "csv", "-o", str(tmp_path / "csv"))
    rows = scraped(tmp_path / "csv")
    for vcpu in frames[0].snapshot.vcpus:
        shown = {
            (row["register"] or row["function"], row["direction"]): int(row["value"])
            for row in rows
            if row["metric"] in ("lpttrace_hypercalls_total", "lpttrace_timer_traps_total")
            and row["vcpu"] == str(vcpu.vcpu)
        }
        assert shown == {(cls.name, cls.direction): trap.count for cls, trap in vcpu.traps.items()}


def test_names_are_no_formulas(tmp_path: Path) -> None:
    (frame,) = synthetic(1, 1, 1)
    (key,) = frame.guests
    hostile = type(frame.guests[key])("1001", "=cmd|'/C calc'!A0", 1001)
    path = record(tmp_path / "a", [Frame(BEGIN, frame.snapshot, {key: hostile})])
    done = run("export", str(path), "--to", "csv")
    assert "'=cmd" in done.stdout and ",=cmd" not in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        *(("export", "--to", form) for form in ("csv", "json", "openmetrics")),
        *(("replay", "--once", *more) for more in ((), ("--json",), ("--vcpus", "--classes"))),
    ],
)
def test_what_a_file_says_does_no_harm(tmp_path: Path, command: tuple[str, ...]) -> None:
    made = planned(1, Plan(seconds=2), (NASTY,)).hostile(NASTY)
    path = record(tmp_path / "a", [*made.made], made.host)
    done = run(*command, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "x1b" in done.stdout or "u001b" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


def test_promtool_takes_openmetrics(hour: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.om"
    options = ("--interval", "1m", "--label", "cluster=here", "--vm", "1001", "-o", str(path))
    assert run("export", str(hour), "--to", "openmetrics", *options).returncode == 0
    command = [str(TOOLS / "promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*command, str(path), str(tmp_path / "data")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    samples = sum(int(line.split()[4]) for line in done.stdout.splitlines()[1:])
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert samples == len(lines) > 10_000
    assert all(
        f'cluster="here",instance="{HOST.hostname}",job="lpttrace"' in line for line in lines
    )
    assert 'vm="1002"' not in path.read_text()


FORMS = ("csv", "json", "parquet", "openmetrics")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_does_not_destroy_what_it_reads(tmp_path: Path, form: str) -> None:
    (tmp_path / "runs").mkdir()
    path = record(tmp_path / "runs" / "a.lpt", synthetic(1, 1, 3))
    link, whole = tmp_path / "link", path.read_bytes()
    link.symlink_to(path)
    for source, output in ((path, path), (path, link), (path.parent, path)):
        done = run("export", str(source), "--to", form, "-o", str(output))
        assert done.returncode == 2
        assert done.stderr == (
            f"error: cannot write to {output}: that is what is read; name another file\n"
        )
    assert path.read_bytes() == whole and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("command", ["report", "diff"])
def test_a_page_does_not_destroy_what_it_shows(tmp_path: Path, command: str) -> None:
    path = record(tmp_path / "a.lpt", synthetic(1, 1, 60))
    whole = path.read_bytes()
    done = run(command, *[str(path)] * (1 + (command == "diff")), "--html", str(path))
    assert done.returncode == 2
    assert (
        done.stderr == f"error: cannot write to {path}: that is what is read; name another file\n"
    )
    assert path.read_bytes() == whole


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_fails_changes_nothing(hour: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    late = ("export", str(hour), "--to", form, "--from", "5h", "-o", str(path))
    for there in ([], [path]):
        done = run(*late)
        assert done.returncode == 1 and "no frame was recorded then" in done.stderr
        assert list(tmp_path.iterdir()) == there
        path.write_text("precious")
    assert path.read_text() == "precious"


def test_an_export_replaces_what_was_there(hour: Path, tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o604)
    link.symlink_to("a")
    run("export", str(hour), "--to", "csv", "--until", "1m", "-o", str(link))
    assert path.read_text().startswith("time,") and link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o604
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_to_what_is_no_file(hour: Path, tmp_path: Path) -> None:
    options = ("export", str(hour), "--to", "csv", "--until", "1m", "-o")
    told = run(*options[:-1]).stdout
    assert told.startswith("time,") and run(*options, "/dev/stdout").stdout == told
    fifo, out = tmp_path / "fifo", tmp_path / "out"
    os.mkfifo(fifo)
    with start(*options, str(fifo)):
        assert fifo.read_text() == told
    # The file that the shell has opened goes on being the one that it writes to.
    command = f"{{ {shlex.join([*COMMAND, *options, '/dev/stdout'])}; echo end; }} >>{out}"
    subprocess.run(["sh", "-c", command], check=True, cwd=ROOT)
    assert out.read_text() == told + "end\n"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--to", "xml"), 2, "cannot export to 'xml'; say one of csv, json, parquet, openmetrics"),
        (("--to", "parquet"), 2, "cannot write parquet to stdout: name a file with -o"),
        (("--to", "csv", "--label", "1=2"), 2, "cannot use --label '1=2': say NAME=VALUE"),
        (("--to", "csv", "--label", "vm=2"), 2, "cannot use --label 'vm=2': metrics have that"),
        (("--to", "csv", "-o", "/nowhere/a"), 1, "the system refused /nowhere/a: no such file"),
        (("--to", "csv", "--from", "25:00"), 2, "cannot use --from '25:00': there is no such time"),
        (("--to", "csv", "--from", "soon"), 2, "cannot use --from 'soon': say a time since the"),
    ],
)
def test_exports_that_make_no_sense(
    hour: Path, options: tuple[str, ...], status: int, message: str
) -> None:
    done = run("export", str(hour), *options)
    assert done.returncode == status and done.stderr.startswith(f"error: {message}"), done.stderr


def test_parquet_without_pyarrow(hour: Path, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError\n")
    options = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}}
    done = run("export", str(hour), "--to", "parquet", "-o", str(tmp_path / "a"), **options)
    assert done.returncode == 2
    assert done.stderr == (
        "error: cannot write parquet: pyarrow is not installed; pip install 'lpttrace[analysis]'\n"
    )
