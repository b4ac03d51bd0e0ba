# SPDX-License-Identifier: GPL-2.0-only
"""This Debian machine: the packages the lab needs of it, and the mirror it installs from."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from labkit.errors import LabError
from labkit.process import output

# What the lab needs installed besides its kernels' source packages.
PACKAGES = (
    # the machine and its root file system
    "qemu-system-arm",
    "mmdebstrap",
    "e2fsprogs",
    "python3-pip",
    "ca-certificates",
    # the kernels
    "bc",
    "bison",
    "ccache",
    "dwarves",
    "flex",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    "openssl",
    "patch",
    "xz-utils",
    # the workload
    "libc6-dev-arm64-cross",
)
LISTS = Path("/var/lib/apt/lists")
LISTS_FRESH_SECONDS = 24 * 3600
INDEX_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"


def missing(wanted: Iterable[str]) -> list[str]:
    """Those of the wanted packages that are not installed, in alphabetical order."""
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"],
        check=True,
        text=True,
        capture_output=True,
    ).stdout
    return sorted(set(wanted) - installed(shown))


def installed(shown: str) -> set[str]:
    """The installed packages in dpkg-query's `PACKAGE STATUS` lines."""
    lines = (line.split() for line in shown.splitlines())
    return {fields[0] for fields in lines if fields[1:] == ["installed"]}


def release() -> str:
    """The codename of this machine's Debian."""
    found = platform.freedesktop_os_release()
    if found.get("ID") != "debian" or "VERSION_CODENAME" not in found:
        name = found.get("PRETTY_NAME", "this system")
        raise LabError(f"{name} is no Debian release; the lab is made from Debian 12's packages")
    return found["VERSION_CODENAME"]


def sources(codename: str, targets: str) -> list[str]:
    """The sources.list lines, for main alone, of `apt-get indextargets` in INDEX_FORMAT."""
    lines = []
    for target in targets.splitlines():
        origin, uri, suite, component = target.split("|")
        wanted = suite in {codename, f"{codename}-updates", f"{codename}-security"}
        if origin == "Debian" and component == "main" and wanted:
            lines.append(f"deb {uri} {suite} {component}")
    if not lines:
        raise LabError(
            f"apt knows no mirror of Debian {codename}: run `apt-get update` as root, "
            "or add one to /etc/apt/sources.list"
        )
    return sorted(set(lines))


def apt_sources(codename: str) -> list[str]:
    """`sources` of this machine, so that what it may reach, and through what, is known to work."""
    query = ["apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages"]
    return sources(codename, output(query))


def release_source(wanted: str) -> str:
    """The sources.list line of another Debian release, on the mirror of this machine's own."""
    return other_release(apt_sources(own := release()), own, wanted)


def other_release(lines: Sequence[str], own: str, wanted: str) -> str:
    """The line of the release `own`, made one of the release `wanted`."""
    for line in lines:
        kind, uri, suite, component = line.split()
        if suite == own:
            return f"{kind} {uri} {wanted} {component}"
    raise LabError(
        f"apt knows no mirror of Debian {own} itself to download Debian {wanted} from: "
        "add one to /etc/apt/sources.list"
    )


def install(packages: Sequence[str]) -> None:
    """Installs Debian packages, telling what it runs; refreshes apt's lists if they are old."""
    if os.geteuid() != 0:
        raise LabError(f"only root can install packages; missing: {' '.join(packages)}")
    if _lists_age(LISTS) > LISTS_FRESH_SECONDS:
        _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *packages)


def _lists_age(lists: Path) -> float:
    """Seconds since apt's package lists were refreshed; infinite if there are none."""
    if not any(lists.glob("*_Packages*")):
        return float("inf")
    # The lists themselves carry the mirror's time stamps; the directories are ours.
    refreshed = max(directory.stat().st_mtime for directory in (lists, lists / "partial"))
    return time.time() - refreshed


def _apt_get(*arguments: str) -> None:
    argv = ["apt-get", *arguments]
    print(f"lab: {' '.join(argv)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, check=False, env=environment)
    if done.returncode:
        raise LabError(f"`{' '.join(argv)}` failed with status {done.returncode}; see above")
