# SPDX-License-Identifier: GPL-2.0-only
"""Manual pages and completions are what the command line says, and nobody complains about them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from lpttrace.cli_app import app
from lpttrace.config import KEYS, load

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / ".venv/bin/lpttrace"
CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    subprocess.run(["make", "--silent", "man", "completion"], cwd=REPOSITORY, check=True)


def shown(page: Path) -> str:
    argv = ["man", "--warnings", "--local-file", str(page)]
    environment = {**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(".\b", "", done.stdout)


def _commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return {"lpttrace": root, **{f"lpttrace-{n}": c for n, c in root.commands.items()}}


COMMANDS = _commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_its_page(name: str) -> None:
    text = shown(REPOSITORY / f"build/man/{name}.1")
    words = set(re.split(r"[\s,]+", text))
    options = {word for p in COMMANDS[name].params for word in [*p.opts, *p.secondary_opts]}
    assert {word for word in options if word.startswith("-")} | {"--help"} <= words


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_page_say_the_same(name: str) -> None:
    text = " ".join(shown(REPOSITORY / f"build/man/{name}.1").split())
    for paragraph in re.split(r"\n\s*\n|\n", (COMMANDS[name].epilog or "").replace("\b", "")):
        assert " ".join(paragraph.split()).rstrip(":").casefold() in text.casefold()


@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_the_file_is_in_its_page(name: str) -> None:
    text = " ".join(shown(REPOSITORY / "build/man/lpttrace.toml.5").split())
    (option,) = [p for p in COMMANDS["lpttrace-serve"].params if f"--{name}" in p.opts]
    said = rf"{re.escape(option.help)}( \[[^]]*\])? The value is {re.escape(KEYS[name].wanted)}\."
    assert re.search(rf" {name} {said}", text)


def test_the_example_of_the_file_is_one(tmp_path: Path) -> None:
    text = shown(REPOSITORY / "build/man/lpttrace.toml.5")
    example = text.split("EXAMPLE\n")[1].split("SEE ALSO")[0]
    (tmp_path / "lpttrace.toml").write_text(example)
    assert load(tmp_path / "lpttrace.toml")


def test_nothing_is_wrong_with_the_pages() -> None:
    pages = sorted(str(page) for page in (REPOSITORY / "build/man").iterdir())
    assert len(pages) == len(COMMANDS) + 1
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shell", CHECKS)
def test_completions_are_scripts(shell: str) -> None:
    script = REPOSITORY / f"build/completion/lpttrace.{shell}"
    assert "lpttrace" in script.read_text()
    subprocess.run([*CHECKS[shell], str(script)], check=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("lpttrace un", ["unload"]), ("lpttrace serve --max", ["--max-vcpus"])],
)
def test_bash_completes(line: str, expected: list[str]) -> None:
    words = line.split()
    script = f"""
source {REPOSITORY}/build/completion/lpttrace.bash
COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
_lpttrace_completion {PROGRAM}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
