# SPDX-License-Identifier: GPL-2.0-only
"""The lab's kernels.toml, and the check of a kernel's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from labkit import kernel_build, kernel_source, kernels
from labkit.cache import Cache, digest
from labkit.errors import LabError
from labkit.kernel_build import lost_options

ROWS = Path(__file__).resolve().parents[2] / "deploy/lab/kernels.toml"
ROW = """["a-1.0"]
description = "d"
source = "linux-source-1.0"
config = ["kernel/lab.config"]
patches = []
lpt = false
"""


def load(tmp_path: Path, text: str) -> dict[str, kernels.Kernel]:
    path = tmp_path / "kernels.toml"
    path.write_text(text)
    return kernels.load(path)


def test_the_projects_kernels() -> None:
    rows = kernels.load(ROWS)
    assert rows["lpt-6.1"].lpt and rows["lpt-6.1"].patches
    assert not rows["stock-6.1"].lpt and not rows["stock-6.1"].patches
    assert rows["lpt-6.1-planted"].patches[:1] == rows["lpt-6.1"].patches
    assert kernels.DEFAULT in rows
    files = [file for row in rows.values() for file in (*row.config, *row.patches)]
    assert [file for file in files if not file.is_file()] == []


def test_paths_are_relative_to_the_list(tmp_path: Path) -> None:
    assert load(tmp_path, ROW)["a-1.0"].config == (tmp_path / "kernel/lab.config",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW + 'colour = "red"\n', "a-1.0: colour: unknown key"),
        (ROW.replace("lpt = false\n", ""), "a-1.0: lpt: missing"),
        (ROW.replace("false", '"no"'), "a-1.0: lpt: not a bool"),
        (ROW + "release = 13\n", "a-1.0: release: not a str"),
        ("a = 1\n", "a: not a table"),
        ("[", "cannot be read"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabError, match=f"kernels.toml: {message}"):
        load(tmp_path, text)


def test_only_a_source_of_this_release_is_to_be_installed(tmp_path: Path) -> None:
    here = load(tmp_path, ROW)["a-1.0"]
    elsewhere = load(tmp_path, ROW.replace("1.0", "2.0") + 'release = "sid"\n')["a-2.0"]
    assert (here.release, elsewhere.release) == (None, "sid")
    assert kernels.packages([here, elsewhere]) == {"linux-source-1.0"}


def test_a_source_of_another_release_is_what_the_cache_has(tmp_path: Path) -> None:
    kernel = load(tmp_path, ROW + 'release = "sid"\n')["a-1.0"]
    cache = Cache(tmp_path / "cache")
    assert kernel_source.here(cache, kernel) is None
    assert kernel_build.entry(cache, kernel) is None

    def fetched(scratch: Path) -> Path:
        (scratch / "result").mkdir()
        (scratch / "result/version").write_text("linux-source-1.0\t1.0.9-1")
        return scratch / "result"

    entry = cache.make(kernel.source, digest({"release": "sid"}), fetched)
    assert kernel_source.get(cache, kernel) == kernel_source.Source(
        "linux-source-1.0\t1.0.9-1", entry / "linux-source-1.0.tar.xz"
    )


def test_an_unknown_kernel_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no kernel is named 'b'; there are: a-1.0"):
        kernels.find(load(tmp_path, ROW), "b")


def test_options_that_a_configuration_lost() -> None:
    fragment = """# a comment
CONFIG_KEPT=y
CONFIG_GONE=y
CONFIG_OTHER_VALUE=16
# CONFIG_OFF is not set
# CONFIG_OFF_AND_ABSENT is not set
# CONFIG_STILL_ON is not set
CONFIG_NO=n
"""
    config = """CONFIG_KEPT=y
# CONFIG_GONE is not set
CONFIG_OTHER_VALUE=32
# CONFIG_OFF is not set
CONFIG_STILL_ON=m
"""
    assert lost_options(fragment, config) == [
        "CONFIG_GONE=y",
        "CONFIG_OTHER_VALUE=16",
        "# CONFIG_STILL_ON is not set",
    ]
