# SPDX-License-Identifier: GPL-2.0-only
"""The lab's cache: entries are whole or absent, and named by what they are made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from labkit.cache import KEPT, Cache, default_root, digest

KEY = "0123456789abcdef"


def built(scratch: Path) -> Path:
    result = scratch / "result"
    result.mkdir()
    (result / "file").write_text("content")
    return result


def test_digest_tells_names_contents_and_their_borders_apart() -> None:
    same = digest({"a": "1", "b": b"2"})
    assert same == digest({"b": "2", "a": b"1"})
    others = [{"a": "2", "b": "1"}, {"a": "1"}, {"a": "1b", "": "2"}, {"a": "", "1b": "2"}]
    assert len({same, *(digest(other) for other in others)}) == 5


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    calls = []

    def build(scratch: Path) -> Path:
        calls.append(scratch)
        return built(scratch)

    cache = Cache(tmp_path)
    first = cache.make("thing", KEY, build)
    assert cache.make("thing", KEY, build) == first
    assert len(calls) == 1
    assert (first / "file").read_text() == "content"


def test_a_failed_build_leaves_no_entry_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(scratch: Path) -> Path:
        built(scratch)
        raise RuntimeError("half done")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.make("thing", KEY, fail)
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    assert cache.make("thing", KEY, built).is_dir()


def test_what_a_killed_builder_left_is_not_used(tmp_path: Path) -> None:
    left = tmp_path / f".thing-{KEY}.building"
    (left / "result").mkdir(parents=True)
    entry = Cache(tmp_path).make("thing", KEY, built)
    assert [file.name for file in entry.iterdir()] == ["file"]
    assert not left.exists()


def test_only_the_entries_last_used_are_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    other = cache.make("thing-else", KEY, built)
    keys = [f"{number:016x}" for number in range(KEPT + 2)]
    for age, key in enumerate(keys):
        os.utime(cache.make("thing", key, built), (age, age))
    os.utime(other, (0, 0))
    cache.make("thing", "f" * 16, built)
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {other.name, "thing-" + "f" * 16, *(f"thing-{key}" for key in keys[-KEPT + 1 :])}


def test_the_cache_is_where_xdg_says() -> None:
    assert default_root({"XDG_CACHE_HOME": "/c"}) == Path("/c/lpttrace")
    assert default_root({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/lpttrace"
    assert default_root({}) == Path.home() / ".cache/lpttrace"
