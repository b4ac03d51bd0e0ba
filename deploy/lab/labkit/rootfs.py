# SPDX-License-Identifier: GPL-2.0-only
"""The machine's root file system: Debian arm64 packages, extracted without running any of them."""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labkit.cache import Cache, digest
from labkit.host import apt_sources, release
from labkit.process import logged
from labkit.progress import Progress

PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "bpftool",
    "bpftrace",
    "bsdutils",
    "coreutils",
    "curl",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "init-system-helpers",
    "iproute2",
    "less",
    "libc-bin",
    "linux-perf",
    "mawk",
    "mount",
    "ncurses-base",
    "ncurses-bin",
    "procps",
    "psmisc",
    "python3",
    "python3-bpfcc",
    "python3-h11",
    "python3-msgpack",
    "python3-psutil",
    "python3-zstandard",
    "sed",
    "strace",
    "systemd",
    "tar",
    "util-linux",
)
# The Python of these packages, and where it looks for what is installed locally.
PYTHON = "python3.11"
PYTHON_TAG = "cpython-311"
SITE = f"usr/local/lib/{PYTHON}/dist-packages"
WHEELS = ("--platform", "manylinux2014_aarch64", "--python-version", "3.11", "--only-binary=:all:")

LEFT_OUT = (
    "dev",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/lib/aarch64-linux-gnu/perl",
    "var/cache",
    "var/lib/apt",
)
# One directory each, as on every Debian since 12; the packages still have them apart.
MERGED = ("bin", "lib", "sbin")
# What the packages' own scripts would have made.
LINKS = {
    "etc/mtab": "../proc/self/mounts",
    "usr/bin/awk": "mawk",
    "usr/bin/pager": "less",
    "usr/bin/which": "which.debianutils",
}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hostname": "lab\n",
    "etc/hosts": "127.0.0.1 localhost lab\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# So that dpkg, in the machine, knows what is there: its database, from the packages themselves.
DATABASE = r"""
cd "$1/var/lib/dpkg"
for deb in "$1"/var/cache/apt/archives/*.deb; do
    dpkg-deb --field "$deb"
    echo Status: install ok installed
    echo
    name=$(dpkg-deb --field "$deb" Package)
    [ "$(dpkg-deb --field "$deb" Multi-Arch)" != same ] || name=$name:arm64
    dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's,^\.,,; s,/$,,; s,^$,/.,' >"info/$name.list"
done >status
"""
DIRECTORIES = ("dev", "overlay", "proc", "run", "sys", "tmp")


@dataclass(frozen=True)
class Recipe:
    """What a root file system is made from."""

    release: str
    requirements: tuple[str, ...]
    constraints: Path | None
    init: Path

    def key(self) -> str:
        """The hash of all of it; not of the mirror, which serves the same packages anywhere."""
        constraints = self.constraints.read_bytes() if self.constraints else b""
        layout = (
            PACKAGES,
            WHEELS,
            LEFT_OUT,
            MERGED,
            LINKS,
            FILES,
            DATABASE,
            DIRECTORIES,
            PYTHON_TAG,
        )
        return digest(
            {
                "release": self.release,
                "requirements": "\n".join(self.requirements),
                "constraints": constraints,
                "init": self.init.read_bytes(),
                "layout": repr(layout),
            }
        )


def recipe(project: Path, init: Path) -> Recipe:
    """The recipe for this machine's Debian and for the run-time dependencies of the project."""
    constraints = project / "constraints.txt"
    return Recipe(
        release=release(),
        requirements=requirements((project / "pyproject.toml").read_text(encoding="utf-8")),
        constraints=constraints if constraints.is_file() else None,
        init=init,
    )


def requirements(pyproject: str) -> tuple[str, ...]:
    """The run-time dependencies that a pyproject.toml declares."""
    return tuple(tomllib.loads(pyproject)["project"]["dependencies"])


def make(cache: Cache, wanted: Recipe) -> Path:
    """The root file system's ext4 image, built now if the cache does not have it."""
    hashed = wanted.key()
    log = cache.log("rootfs", hashed)
    return cache.make("rootfs", hashed, partial(_build, wanted, log)) / "rootfs.ext4"


def _build(wanted: Recipe, log: Path, scratch: Path) -> Path:
    log.unlink(missing_ok=True)
    root, archive, result = scratch / "root", scratch / "packages.tar", scratch / "result"
    result.mkdir()
    with Progress("building the root file system") as progress:
        progress.update("downloading and extracting packages")
        _download(wanted, log, archive)
        _extract(log, archive, root)
        _install_wheels(wanted, log, root / SITE)
        _finish(wanted, root)
        _compile(root)
        _image(log, root, result / "rootfs.ext4")
    return result


def _download(wanted: Recipe, log: Path, archive: Path) -> None:
    # Both modes run nothing of the packages; mmdebstrap refuses the other one to each user.
    mode = "root" if os.geteuid() == 0 else "chrootless"
    options = [f"--mode={mode}", "--variant=extract", "--architectures=arm64", "--format=tar"]
    mirrors = apt_sources(wanted.release)
    contents = [f"--include={','.join(PACKAGES)}", f"--extract-hook={DATABASE}"]
    logged(["mmdebstrap", *options, *contents, wanted.release, str(archive), *mirrors], log)


def _extract(log: Path, archive: Path, root: Path) -> None:
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    options = ["--no-same-owner", "--keep-directory-symlink", "--anchored"]
    left_out = [f"--exclude=./{path}" for path in LEFT_OUT]
    into = ["--file", str(archive), "--directory", str(root)]
    logged(["tar", "--extract", *options, *left_out, *into], log)


def _install_wheels(wanted: Recipe, log: Path, site: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    constraint = ["--constraint", str(wanted.constraints)] if wanted.constraints else []
    options = ["--no-compile", "--target", str(site), *WHEELS, *constraint]
    logged([*pip, *options, *wanted.requirements], log)
    # Their commands are for the Python that ran pip.
    shutil.rmtree(site / "bin", ignore_errors=True)


def _finish(wanted: Recipe, root: Path) -> None:
    for name in DIRECTORIES:
        (root / name).mkdir(exist_ok=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for name, content in FILES.items():
        (root / name).write_text(content, encoding="utf-8")
    shutil.copy(wanted.init, root / "usr/sbin/init")
    (root / "usr/sbin/init").chmod(0o755)


def _compile(root: Path) -> None:
    """Byte code for all of the machine's Python modules: an emulated machine is slow at it.

    Unchecked, because a file's time of change would be wrong in the image.
    """
    if sys.implementation.cache_tag != PYTHON_TAG:
        return
    for directory in (f"usr/lib/{PYTHON}", "usr/lib/python3", SITE):
        compileall.compile_dir(
            root / directory,
            stripdir=str(root),
            prependdir="/",
            quiet=2,
            workers=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _image(log: Path, root: Path, image: Path) -> None:
    used = sum(file.lstat().st_size + 4096 for file in root.rglob("*"))
    megabytes = used * 11 // 10 // 2**20 + 32
    make = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root)]
    # mke2fs records the files' owner: root, in a user namespace of its own if we are not.
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    # Its directory is not on everybody's PATH.
    path = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    logged([*as_root, *make, str(image), f"{megabytes}M"], log, env=path)
