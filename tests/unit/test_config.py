# SPDX-License-Identifier: GPL-2.0-only
"""config.py: what a configuration file may say, and how mistakes are told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lpttrace import cli_config, cli_run, cli_serve, doctor
from lpttrace.cli_app import app
from lpttrace.cli_config import PARAMETERS
from lpttrace.cli_service import view_of
from lpttrace.config import KEYS, ConfigError, load
from lpttrace.exporter_view import View

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """# what an operator writes
listen = "[::]:9753"
web-config-file = "/etc/lpttrace/web-config.yml"
max-vcpus = 1024
lpt-symbol = "my_update"
pin-dir = "/sys/fs/bpf/other"
keep = false
bpf-stats = true
per-vcpu = false
vm = ["web*", "db"]
not-vm = ["test-*"]
created = true
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lpttrace.toml"
    path.write_text(text)
    return path


def test_every_key(tmp_path: Path) -> None:
    values = load(write(tmp_path, WHOLE))
    assert list(values) == list(KEYS)
    assert (values["max-vcpus"], values["vm"], values["keep"]) == (1024, ["web*", "db"], False)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing\n")) == {}


def test_keys_are_the_options_of_serve() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    options = {p.name: p.opts[0] for p in command.params if p.opts[0] != "--help"}
    names = {PARAMETERS[key]: f"--{key}" for key in KEYS}
    own = ("config", "replay", "synthetic")
    assert names == {n: o for n, o in options.items() if n not in own}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("listen = 9753", 1, "listen: must be a text that is not empty"),
        ("\n\nlisten = ''", 3, "listen: must be a text that is not empty"),
        ("# a\nmax-vcpus = 0", 2, "max-vcpus: must be a whole number from 1 to 65536"),
        ("max-vcpus = true", 1, "max-vcpus: must be a whole number from 1 to 65536"),
        ("max-vcpus = 65537", 1, "max-vcpus: must be a whole number from 1 to 65536"),
        ("keep = 'yes'", 1, "keep: must be true or false"),
        ("keep = true\nvm = 'web'", 2, "vm: must be a list of texts that are not empty"),
        ("vm = ['a', 3]", 1, "vm: must be a list of texts that are not empty"),
        ("keep = true\n\nlisten-address = 'a'", 3, "listen-address: unknown key; there are listen"),
        ("[serve]\nlisten = 'a'", 1, "serve: unknown key; there are listen"),
        ("keep = true\nserve.listen = 'a'", 2, "serve: unknown key; there are listen"),
        ('"odd key" = 1', 1, "odd key: unknown key; there are listen"),
        ("keep = true\nkeep = false", 2, "cannot overwrite a value"),
        ("keep = true\nlisten 'a'", 2, "expected '=' after a key in a key/value pair"),
        ("keep = true\nvm = ['a'", 2, "unclosed array"),
        ("keep = yes", 1, "invalid value"),
        ("keep = true\nvm = " + "[" * 50_000, 2, "brackets in brackets, too many to read"),
        ("vm = " + "[" * 9_999 + "]" * 9_999 + "\n", 1, "brackets in brackets, too many to read"),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(f"{path}:{line}: {message}")):
        load(path)


def test_what_is_no_text_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lpttrace.toml"
    path.write_bytes(b'keep = true\nlisten = "\xff"\n')
    with pytest.raises(ConfigError, match=re.escape(f"{path}:2: not UTF-8")):
        load(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nothing.toml"
    with pytest.raises(ConfigError, match=f"cannot read the configuration {path}: no such file"):
        load(path)


@pytest.mark.parametrize(
    ("values", "given", "view"),
    [
        ({}, (), View()),
        ({"per-vcpu": False, "created": True}, (), View(per_vcpu=False, created=True)),
        ({"vm": ["a"], "not-vm": ["b"]}, (), View(vms=("a",), not_vms=("b",))),
        ({"vm": ["a"], "not-vm": ["b"]}, ("vm",), View(vms=("said",), not_vms=("b",))),
        ({"per-vcpu": True}, ("per-vcpu", "vm"), View(per_vcpu=False, vms=("said",))),
    ],
)
def test_the_command_line_goes_before_the_file(
    values: dict[str, Any], given: tuple[str, ...], view: View
) -> None:
    said = View(per_vcpu=False, vms=("said",))
    assert view_of(values, said, given) == view


class Seen:
    """Stands for what a command calls, and keeps what it is called with."""

    def __init__(self) -> None:
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> int:
        self.arguments = arguments
        return 0


@pytest.fixture
def agents_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write(tmp_path, WHOLE)
    monkeypatch.setattr(cli_config, "CONFIG_FILE", path)
    return path


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], (1024, "my_update", "/sys/fs/bpf/other")),
        (["--pin-dir", "/sys/fs/bpf/said"], (1024, "my_update", "/sys/fs/bpf/said")),
        (["--max-vcpus", "9", "--lpt-symbol", "said"], (9, "said", "/sys/fs/bpf/other")),
    ],
)
def test_top_looks_where_the_agent_of_this_host_counts(
    agents_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    wanted: tuple[int, str, str],
) -> None:
    monkeypatch.setattr(cli_run, "top", seen := Seen())
    assert CliRunner().invoke(app, ["top", *arguments]).exit_code == 0
    source, options, command = seen.arguments
    assert (source.max_vcpus, source.lpt_symbol, source.pin_dir) == wanted
    # What serve shows is not for others: they have options of that name that mean something else.
    assert (options.pattern, command) == ("", ())


def test_doctor_and_unload_look_there_too(
    agents_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "run", looked := Seen())
    monkeypatch.setattr(cli_serve, "unload", unloaded := Seen())
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    assert CliRunner().invoke(app, ["unload"]).exit_code == 0
    assert looked.arguments == (False, "my_update", Path("/sys/fs/bpf/other"))
    assert unloaded.arguments == ("/sys/fs/bpf/other",)


def test_looking_takes_no_good_file(agents_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agents_file.write_text("keep = true\nlisten 'a'\n")
    monkeypatch.setattr(cli_serve, "unload", unloaded := Seen())
    done = CliRunner().invoke(app, ["unload"])
    assert (done.exit_code, unloaded.arguments) == (0, ("/sys/fs/bpf/lpttrace",))
    assert f"warning: {agents_file}:2: expected '='" in done.stderr


# Its file of configuration is the first argument.
_WITH_FILE = """
import pathlib, sys
from lpttrace import config
config.CONFIG_FILE = pathlib.Path(sys.argv.pop(1))
from lpttrace.cli import main
main()
"""


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (["doctor"], "warning: "),
        (["top", "--synthetic", "1x1", "--once"], "warning: "),
        (["serve", "--synthetic", "1x1"], "error: "),
    ],
)
def test_a_directory_that_may_not_be_seen(tmp_path: Path, command: list[str], first: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    path = write(closed, WHOLE)
    closed.chmod(0)
    # Even root is nobody special then.
    bare = ["setpriv", "--bounding-set=-all"] if os.getuid() == 0 else []
    argv = [*bare, sys.executable, "-c", _WITH_FILE, str(path), *command]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    said = f"{first}cannot read the configuration {path}: permission denied"
    assert done.stderr.splitlines()[0] == said
    if command[0] != "doctor":
        assert done.returncode == (0 if first == "warning: " else 2)
