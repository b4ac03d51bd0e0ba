# SPDX-License-Identifier: GPL-2.0-only
"""The pages of report and diff: one file that needs nothing else, drawn by a real browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lpttrace.blocks import reduce
from lpttrace.diff import compare
from lpttrace.diff_page import page as diff_page
from lpttrace.report import by_label, report_of
from lpttrace.report_page import page as report_page
from tests.unit.conftest import NASTY
from tests.unit.recordings import CTL_READ, CTL_WRITE, HOST, PTP, Plan, Recording, record

# Names in XML, which nobody fetches.
_NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")

_HOSTILE = "<script>alert(1)</script> $x_{$ &amp;"


def _report(*names: str) -> str:
    blocks = reduce(record(1, Plan(seconds=130), names), by_label)
    assert blocks is not None
    return report_page(report_of(blocks))


def _diff(*names: str) -> str:
    plan = Plan(slower={(None, CTL_READ): 1.3, (2, CTL_WRITE): 1.5, (None, PTP): 0.7})
    changed = record(10_001, plan, names).without("kvm_update_stolen_time")
    host = replace(HOST, hostname="host-b", kernel="6.12.0", el2="vhe")
    before, after = reduce(record(1, names=names)), reduce(Recording(host, changed.made))
    assert before is not None and after is not None
    return diff_page(compare([before], [after]))


@pytest.fixture(scope="module", params=["report", "diff"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    path.write_text((_report if request.param == "report" else _diff)("web", NASTY, _HOSTILE))
    return path


def chromium(page: Path, *options: str) -> str:
    """What the browser prints on stdout."""
    command = [
        *("chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--window-size=1200,3000", f"--user-data-dir={page.parent / 'profile'}"),
    ]
    done = subprocess.run(
        [*command, *options, page.as_uri()], capture_output=True, text=True, check=True
    )
    return done.stdout


def _picture(page: Path, *options: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Rows of pixels of three colours, from 0 to 1."""
    path = page.with_suffix(".png")
    chromium(page, *options, f"--screenshot={path}")
    return np.asarray(imread(path), dtype=np.float32)[:, :, :3]


def test_a_diff_says_what_is_the_same_and_what_its_words_mean() -> None:
    text = _diff("web")
    assert "The same on both: architecture aarch64, CPU Cortex-A57, CPUs 8, counter" in text
    assert "Counted on both: hypercalls, timer traps, timer interrupts" in text
    assert "stolen time," not in text.split("Counted on both:")[1].split("</p>")[0]
    assert "mean is the time that the host takes to serve one such trap of the guest" in text


def test_everything_is_in_the_file(page: Path) -> None:
    text = page.read_text()
    addresses = set(re.findall(r"[a-z]+://[^\"'<>\s)]+", text))
    assert addresses <= set(_NAMESPACES)
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    assert len(text) < 2_000_000
    assert "default-src 'none'" in text


def test_a_browser_shows_names_as_they_are(page: Path) -> None:
    shown = chromium(page, "--dump-dom")
    assert "&lt;script&gt;alert(1)" in shown and "<script" not in shown
    assert shown.count("<svg") >= 2 and shown.count("<table") >= 3


def test_light_and_dark(page: Path) -> None:
    """Mostly the ground's colour, with ink on it, and pictures in colour."""
    light, dark = _picture(page), _picture(page, "--blink-settings=preferredColorScheme=0")
    assert light.shape == dark.shape == (3000, 1200, 3)
    assert np.median(light) > 0.95 and np.median(dark) < 0.15
    for picture in (light, dark):
        assert np.abs(picture - np.median(picture)).max() > 0.6
        colored = (picture.max(axis=2) - picture.min(axis=2)) > 0.3
        assert 0.001 < colored.mean() < 0.5


def test_it_can_be_printed(page: Path) -> None:
    path = page.with_suffix(".pdf")
    chromium(page, f"--print-to-pdf={path}", "--no-pdf-header-footer")
    data = path.read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 20_000


def test_what_a_file_says_is_shown_escaped() -> None:
    made = record(1, Plan(seconds=30), (NASTY,))
    hostile = reduce(made.hostile(NASTY), by_label)
    plain = reduce(made, by_label)
    assert hostile is not None and plain is not None
    pages = [report_page(report_of(hostile)), diff_page(compare([hostile], [hostile]))]
    pages += [diff_page(compare(*sides)) for sides in (([plain], [hostile]), ([hostile], [plain]))]
    for text in pages:
        assert "\\x1b[31m" in text and "\x1b" not in text and "\u202e" not in text


def _headings(text: str) -> Sequence[str]:
    return [re.sub(r"\d+", "N", found) for found in re.findall(r"<h2>(.*?)</h2>", text)]


def test_the_diff_has_hosts_first() -> None:
    assert _headings(_diff("web")) == [
        "What differs between the hosts",
        "What changed",
        "How busy the VMs were",
        "All N rows",
    ]


def test_the_report_ends_with_what_is_not_seen() -> None:
    assert _headings(_report("web"))[-1] == "Not seen on this host"
