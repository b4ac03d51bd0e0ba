# SPDX-License-Identifier: GPL-2.0-only
"""The RPM package, as far as Debian can tell: its dependencies go by other names here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lpttrace import __version__

# Of the modules that it brings along: one run of what uses most of them.
UNIT_TESTS = ("tests/unit/test_cli.py", "tests/unit/test_top.py")

# Installed, upgraded and removed over this machine's root, which is not changed, with the package's
# scripts run in it. What differs from the machine is told after each.
LIFE = """
set -eu
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t sysfs sysfs root/sys
mount -t bpf bpf root/sys/fs/bpf
# Of the package filesystem there.
mkdir -p root/usr/share/licenses
rpm() { command rpm --root "$PWD/root" --dbpath /rpmdb "$@"; }
# An empty directory of the machine's that rpm takes for its own is none of a package's.
differs() {
	echo "== $1"
	(cd upper && find . -path ./rpmdb -prune -o -print) | while read -r path; do
		[ -d "/$path" ] && { [ -d "upper/$path" ] || [ -c "upper/$path" ]; } ||
			echo "/${path#./}"
	done | sed "/^.usr.share.licenses$/d"
	ls root/usr/share/licenses
	ls root/sys/fs/bpf | grep lpttrace || :
}
rpm --install --nodeps --ignorearch "$2"
mkdir -p root/sys/fs/bpf/lpttrace/v1
differs installed
rpm --upgrade --nodeps --ignorearch --replacepkgs "$2"
differs upgraded
echo "== enabled"
chroot root systemctl is-enabled lpttrace.service lpttrace.socket
rpm --erase lpttrace
differs removed
"""


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def rpm(repository: Path) -> Path:
    subprocess.run(["make", "--silent", "rpm", "deb"], cwd=repository, check=True)
    return repository / f"build/rpm/lpttrace-{__version__}-1.noarch.rpm"


@pytest.fixture(scope="module")
def unpacked(rpm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed below a directory, into a database of its own."""
    root = tmp_path_factory.mktemp("rpm")
    options = ["--nodeps", "--noscripts", "--ignorearch", "--root", str(root)]
    subprocess.run(["rpm", "--install", *options, str(rpm)], check=True)
    return root


def test_it_asks_for_the_distributions_bcc(rpm: Path) -> None:
    needed = output("rpm", "--query", "--package", "--requires", str(rpm)).splitlines()
    real = {line for line in needed if not line.startswith(("rpmlib", "/bin/sh"))}
    assert real == {
        *("/usr/bin/python3", "python3 >= 3.9", "python3-bcc", "python3-h11 >= 0.13"),
        *("python3-msgpack >= 1.0.3", "python3-psutil >= 5.8", "python3-zstandard >= 0.20"),
        "systemd",
    }
    given = output("rpm", "--query", "--package", "--provides", str(rpm)).split("\n")
    assert given == [f"lpttrace = {__version__}-1", ""]


def test_its_scripts_are_scripts(rpm: Path, tmp_path: Path) -> None:
    for tag in ("POSTIN", "PREUN", "POSTUN"):
        text = output("rpm", "--query", "--package", "--queryformat", f"%{{{tag}}}", str(rpm))
        script = tmp_path / f"{tag}.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        subprocess.run(["shellcheck", str(script)], check=True)
        assert "systemctl" in text
    removal = output("rpm", "--query", "--package", "--queryformat", "%{PREUN}", str(rpm))
    assert "lpttrace unload" in removal


@pytest.fixture(scope="module")
def life(rpm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What differs from the machine after each step, and what is enabled."""
    place = tmp_path_factory.mktemp("life")
    told = output("unshare", "--mount", "sh", "-c", LIFE, "sh", str(place), str(rpm))
    steps = (part.splitlines() for part in told.split("== ")[1:])
    return {name: lines for name, *lines in steps}


def test_installed_it_is_enabled_and_has_byte_code(life: dict[str, list[str]]) -> None:
    assert life["enabled"] == ["enabled", "enabled"]
    assert {"/usr/bin/lpttrace", "/usr/lib/systemd/system/lpttrace.service"} <= {*life["installed"]}
    assert any("/usr/lib/lpttrace/lpttrace/__pycache__/cli." in path for path in life["installed"])
    # An upgrade leaves counting alone.
    assert set(life["upgraded"]) == set(life["installed"]) >= {"lpttrace"}


def test_removed_it_leaves_nothing(life: dict[str, list[str]]) -> None:
    assert life["removed"] == []


def test_it_has_what_the_debian_package_has(
    unpacked: Path, repository: Path, tmp_path: Path
) -> None:
    deb = repository / f"build/deb/lpttrace_{__version__}_all.deb"
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(tmp_path)], check=True)
    for directory in ("usr/lib/lpttrace", "usr/bin", "usr/share/lpttrace"):
        theirs, ours = (contents(root / directory) for root in (tmp_path, unpacked))
        assert ours == theirs
    assert "usr/lib/systemd/system/lpttrace.service" in contents(unpacked)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_lpttrace_works_with_what_is_brought_along(unpacked: Path, repository: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(unpacked / "usr/lib/lpttrace"),
        # Those of the virtual environment are for its own modules.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv = [str(repository / ".venv/bin/pytest"), "-q", "-p", "pytest_asyncio.plugin", *UNIT_TESTS]
    done = subprocess.run(argv, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
