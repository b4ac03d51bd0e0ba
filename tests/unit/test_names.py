# SPDX-License-Identifier: GPL-2.0-only
"""Hostile names, in every form in which lpttrace tells them."""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lpttrace import frame_json, frame_text
from lpttrace.exporter import SnapshotCollector
from lpttrace.guests import Guests, read_process
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.model_order import arrange
from lpttrace.printable import bounded, fit, printable, width
from lpttrace.snapshot import Snapshot, VmKey
from lpttrace.top import TopApp, View

from .conftest import WEB
from .test_top import press, shown

NOW = datetime(2026, 11, 22, 18, 0, 0, 0, timezone.utc)
ALL = frame_text.TextOptions(vcpus=True, classes=True, events=True)

SHOWN = {
    "plain name": "plain name",
    "größe 日本": "größe 日本",
    "cafe\u0301": "cafe\u0301",
    'a "b" \\ {c="d"} # 1': 'a "b" \\ {c="d"} # 1',
    "[bold]a[/bold] <b>&amp;": "[bold]a[/bold] <b>&amp;",
    "\x1b]0;owned\x07\x1b[2J": "\\x1b]0;owned\\x07\\x1b[2J",
    "a\nb\tc\r\0\x7f": "a\\nb\\tc\\r\\x00\\x7f",
    "c1\x9b31m\x85": "c1\\x9b31m\\x85",
    "evil\u202egnp.exe": "evil\\u202egnp.exe",
    "\u202aa\u202bb\u202cc\u202d": "\\u202aa\\u202bb\\u202cc\\u202d",
    "\u2066a\u2067b\u2068c\u2069": "\\u2066a\\u2067b\\u2068c\\u2069",
    "\u200e\u200f\u061c": "\\u200e\\u200f\\u061c",
    "zero\u200b\u200c\u200d\u2060\ufeff": "zero\\u200b\\u200c\\u200d\\u2060\\ufeff",
    "soft\xad nbsp\xa0 line\u2028\u2029": "soft\\xad nbsp\\xa0 line\\u2028\\u2029",
    "\u3164\uffa0\u115f\u034f\u2800": "\\u3164\\uffa0\\u115f\\u034f\\u2800",
    "heart\ufe0f tag\U000e0041\U000e0101": "heart\\ufe0f tag\\U000e0041\\U000e0101",
    "private\ue000 none\uffff": "private\\ue000 none\\uffff",
    "half\ud800 pair\udc80": "half\ufffd pair\ufffd",
    "z\u0301\u0302\u0303\u0304": "z\u0301\u0302\\u0303\\u0304",
    "x" * 100_000: "x" * 255 + "…",
    "\x1b" * 100_000: ("\\x1b" * 64)[:255] + "…",
    "日" * 100_000: "日" * 127 + "…",
    "e" + "\u0301" * 100_000: ("e\u0301\u0301" + "\\u0301" * 43)[:257] + "…",
}


@pytest.mark.parametrize(("name", "text"), SHOWN.items(), ids=lambda name: ascii(name[:24]))
def test_what_is_shown(name: str, text: str) -> None:
    assert printable(name) == text
    assert width(text) <= 256


def test_every_character_is_shown_or_escaped() -> None:
    for number in range(0x110000):
        text = printable(f"a{chr(number)}b")
        assert text.isprintable() and width(text) >= 2
        assert text != "ab" and bounded(text) == text


def test_what_fits() -> None:
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日…"
    assert fit("日本語", 6) == "日本語"
    assert width("日本e\u0301") == 5
    assert (width("µs ▸"), width("")) == (4, 0)


def test_a_guest_is_bounded_whoever_makes_it() -> None:
    guest = Guest("1", "n" * 100_000, 1, "\udc80" * 100_000)
    assert guest.name == "n" * 255 + "…"
    assert guest.uuid == "\ufffd" * 255 + "…"


def named(guests: Mapping[VmKey, Guest], name: str) -> Mapping[VmKey, Guest]:
    return {key: replace(guest, name=name, uuid=name) for key, guest in guests.items()}


def assert_harmless(text: str, lines: int) -> None:
    """Nothing that a terminal would do something with, and no line more than there is to be."""
    assert len(text.split("\n")) == lines
    for line in text.split("\n"):
        assert line.isprintable() and len(line) < 1000
        assert not re.search("[\ufe00-\ufe0f\u3164\u2800\u115f\uffa0\u034f]", line)
        marks = "".join("m" if unicodedata.combining(char) else " " for char in line)
        assert "mmm" not in marks


@pytest.mark.parametrize("name", SHOWN, ids=lambda name: ascii(name[:24]))
def test_text(before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest], name: str) -> None:
    def frame(called: str) -> str:
        model = compare(tally(before), tally(after), named(guests, called))
        return frame_text.frame(model, arrange(model.vms), NOW, ALL)

    assert_harmless(frame(name), len(frame("plain").split("\n")))


@pytest.mark.parametrize("name", SHOWN, ids=lambda name: ascii(name[:24]))
def test_json(before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest], name: str) -> None:
    model = compare(tally(before), tally(after), named(guests, name))
    text = frame_json.encode(model, arrange(model.vms), NOW)
    assert text.isascii() and text.isprintable()
    told = {vm["name"] for vm in json.loads(text)["vms"]}
    assert told == {bounded(name)}
    # Some parsers refuse halves of a pair, though Python's does not.
    assert all(told_name.encode("utf-8") for told_name in told)


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("name", SHOWN, ids=lambda name: ascii(name[:24]))
def test_labels(
    complete: Snapshot, guests: Mapping[VmKey, Guest], name: str, openmetrics: bool
) -> None:
    hostile = named(guests, name)
    text = exposition(SnapshotCollector(lambda: complete, lambda _: hostile), openmetrics)
    plain = SnapshotCollector(lambda: complete, lambda _: named(guests, "plain"))
    assert_harmless(text, len(exposition(plain, openmetrics).split("\n")))
    infos = labels_of(text, openmetrics)
    assert len(infos) == len(guests)
    assert {info["name"] for info in infos} == {info["uuid"] for info in infos} == {printable(name)}


def exposition(collector: SnapshotCollector, openmetrics: bool) -> str:
    text = b"".join(collector.write(openmetrics)).decode()
    return text + ("# EOF\n" if openmetrics else "")


def labels_of(text: str, openmetrics: bool) -> list[dict[str, str]]:
    parse: Any = parse_openmetrics if openmetrics else parse_text
    families: Iterable[Any] = parse(text)
    samples = [sample for family in families for sample in family.samples]
    return [sample.labels for sample in samples if sample.name == "lpttrace_vm_info"]


@pytest.mark.parametrize("name", SHOWN, ids=lambda name: ascii(name[:24]))
async def test_full_screen(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest], name: str
) -> None:
    model = compare(tally(before), tally(after), named(guests, name))
    app = TopApp(View())
    async with app.run_test(size=(700, 40)) as pilot:
        table = await shown(app, pilot, model)
        assert f"1234 {printable(name)[:20].rstrip()}" in table
        assert ", UUID " in table
        assert_harmless(table, 40)
        assert_harmless(await press(app, pilot, "right", "down", "e"), 40)


def test_a_real_process(before: Snapshot, after: Snapshot, complete: Snapshot) -> None:
    hostile = b'guest=\x1b[31m\xe2\x80\xae"\n' + b"\xff" * 100_000 + b",debug-threads=on"
    words = [b"/bin/sh", b"-c", b"echo ready; read line", b"-name", hostile]
    words += [b"-uuid", b"\xe2\x80\x8b\x9b"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        # Popen returns when exec has begun; /proc has the arguments only when it is done.
        assert shell.stdout and shell.stdout.readline() == b"ready\n"
        assert read_process(shell.pid) is not None
        told = tell(before, after, complete, shell.pid)
    shown_name = '\\x1b[31m\\u202e"\\n' + "\ufffd"
    assert f"{shell.pid} {shown_name}" in told["text"]
    assert json.loads(told["json"])["vms"][0]["name"].startswith('\x1b[31m\u202e"\n\ufffd\ufffd')
    (info,) = labels_of(told["metrics"], False)
    assert info["name"].startswith(shown_name) and info["name"].endswith("\ufffd…")
    assert (len(bounded(info["name"])), info["uuid"]) == (256, "\\u200b\ufffd")


def tell(before: Snapshot, after: Snapshot, complete: Snapshot, pid: int) -> dict[str, str]:
    """Every form for pipes, of one VM that is that process."""

    def only(snapshot: Snapshot) -> Snapshot:
        vms = tuple(replace(vm, tgid=pid) for vm in snapshot.vms if vm.key == WEB)
        vcpus = tuple(vcpu for vcpu in snapshot.vcpus if vcpu.vm == WEB)
        return replace(snapshot, vms=vms, vcpus=vcpus)

    identify = Guests().identify
    guests = identify(only(after))
    model: Model = compare(tally(only(before)), tally(only(after)), guests)
    metrics = exposition(SnapshotCollector(lambda: only(complete), identify), False)
    text = frame_text.frame(model, model.vms, NOW, replace(ALL, columns=200))
    assert_harmless(text, text.count("\n") + 1)
    return {"text": text, "json": frame_json.encode(model, model.vms, NOW), "metrics": metrics}
