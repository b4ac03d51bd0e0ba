# SPDX-License-Identifier: GPL-2.0-only
"""What the lab makes of its Debian machine and of its own command line."""

from __future__ import annotations

import pytest
from labkit import host, options
from labkit.errors import LabError
from labkit.rootfs import requirements

TARGETS = """\
Debian|http://mirror.test/debian/|bookworm-updates|main
Debian|http://mirror.test/debian/|bookworm|main
Debian|http://mirror.test/debian/|bookworm|contrib
Debian|http://mirror.test/debian/|bookworm-backports|main
Debian|http://mirror.test/debian/|trixie|main
Debian|http://mirror.test/debian/|bookworm|main
Debian|http://mirror.test/security/|bookworm-security|main
Somebody|http://other.test/|stable|main
"""


def test_the_mirror_is_the_one_apt_uses() -> None:
    assert host.sources("bookworm", TARGETS) == [
        "deb http://mirror.test/debian/ bookworm main",
        "deb http://mirror.test/debian/ bookworm-updates main",
        "deb http://mirror.test/security/ bookworm-security main",
    ]


def test_another_release_is_on_the_mirror_of_this_one() -> None:
    lines = host.sources("bookworm", TARGETS)
    assert host.other_release(lines, "bookworm", "sid") == "deb http://mirror.test/debian/ sid main"
    with pytest.raises(LabError, match="no mirror of Debian bookworm itself"):
        host.other_release(lines[1:], "bookworm", "sid")


@pytest.mark.parametrize("targets", ["", "Somebody|http://other.test/|stable|main\n"])
def test_no_debian_mirror_says_what_to_do(targets: str) -> None:
    with pytest.raises(LabError, match="run `apt-get update` as root"):
        host.sources("bookworm", targets)


def test_only_a_package_that_is_fully_installed_is_installed() -> None:
    shown = "bash installed\nbc not-installed\nflex config-files\ngcc half-configured\n"
    assert host.installed(shown) == {"bash"}


def test_requirements_are_the_projects() -> None:
    assert requirements('[project]\ndependencies = ["a>=1", "b"]\n') == ("a>=1", "b")


def test_the_command_is_everything_after_the_first_dashes() -> None:
    asked = options.parse(["run", "--smp", "4", "--", "sh", "-c", "a  b", "--", "--smp"])
    assert asked.smp == 4
    assert asked.command == ["sh", "-c", "a  b", "--", "--smp"]


def test_what_a_machine_is_by_default() -> None:
    asked = options.parse(["shell"])
    assert (asked.kernel, asked.mode, asked.smp) == ("lpt-6.1", "nvhe", 2)
    assert (asked.cntfrq, asked.icount, asked.timeout, asked.add) == (None, False, None, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "COMMAND is missing; it goes after `--`"),
        (["run", "true"], "unrecognized arguments: true"),
        (["list", "--", "true"], "list: takes no COMMAND"),
        (["run", "--smp", "0", "--", "true"], "invalid positive number value: '0'"),
        (["run", "--timeout", "inf", "--", "true"], "invalid number of seconds value: 'inf'"),
        (["run", "--mode", "el3", "--", "true"], "invalid choice: 'el3'"),
        ([], "VERB"),
    ],
)
def test_wrong_words_are_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
