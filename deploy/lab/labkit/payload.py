# SPDX-License-Identifier: GPL-2.0-only
"""What one run brings into the machine, as a tar: the project, the workload, the caller's files."""

from __future__ import annotations

import io
import py_compile
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from labkit.errors import LabError
from labkit.rootfs import PYTHON_TAG, SITE

# The machine's init reads its orders here.
ORDERS = "run.lab"
# What pip makes of an entry point, for the machine's Python.
SCRIPT = """\
#!/usr/bin/python3 -P
import sys
from {module} import {function}
sys.exit({function}())
"""


@dataclass(frozen=True)
class Addition:
    """A file or directory of the caller's, and where it goes in the machine."""

    host: Path
    guest: PurePosixPath

    @classmethod
    def parse(cls, text: str) -> Addition:
        """HOST_PATH:GUEST_PATH; a guest path that ends in a slash is the directory to put it in."""
        host, colon, guest = text.rpartition(":")
        if not (colon and host and guest.startswith("/")):
            raise LabError(f"--add {text}: not HOST_PATH:GUEST_PATH with an absolute GUEST_PATH")
        path = Path(host)
        if not path.exists():
            raise LabError(f"--add {text}: {host} does not exist")
        inside = PurePosixPath(guest)
        return cls(path.resolve(), inside / path.name if guest.endswith("/") else inside)


class Payload:
    """A tar being written, to be used with `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Payload:
        self._tar = tarfile.open(self._path, "w")
        return self

    def __exit__(self, *unused: object) -> None:
        self._tar.close()

    def add(self, host: Path, guest: str) -> None:
        """A file or a directory with all it contains, owned by root."""
        self._tar.add(host, guest.lstrip("/"), filter=_root_owned)

    def write(self, guest: str, content: bytes, mode: int = 0o644) -> None:
        member = tarfile.TarInfo(guest.lstrip("/"))
        member.size, member.mode = len(content), mode
        self._tar.addfile(member, io.BytesIO(content))

    def link(self, guest: str, target: str) -> None:
        """A symbolic link in the machine."""
        member = tarfile.TarInfo(guest.lstrip("/"))
        member.type, member.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(member)

    def orders(self, orders: Mapping[str, bytes]) -> None:
        """What the machine's init is to do, by the names that init.sh documents."""
        for name, content in orders.items():
            self.write(f"{ORDERS}/{name}", content)

    def project(self, project: Path) -> None:
        """The package and its commands, as its wheel would install them."""
        if not (project / "lpttrace").is_dir():
            raise LabError(f"{project / 'lpttrace'}: no such directory; the checkout is incomplete")
        self.add(project / "lpttrace", f"{SITE}/lpttrace")
        self.add(project / "bpf", f"{SITE}/lpttrace/bpf")
        for name, script in scripts((project / "pyproject.toml").read_text("utf-8")).items():
            self.write(f"usr/local/bin/{name}", script.encode(), 0o755)
        if sys.implementation.cache_tag == PYTHON_TAG:
            self._byte_code(project)

    def _byte_code(self, project: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            for source in sorted((project / "lpttrace").rglob("*.py")):
                inside = f"{SITE}/{source.relative_to(project).parent}"
                compiled = _compiled(source, f"/{inside}/{source.name}", Path(scratch) / "pyc")
                if compiled:
                    target = f"{inside}/__pycache__/{source.stem}.{PYTHON_TAG}.pyc"
                    self.write(target, compiled.read_bytes())


def scripts(pyproject: str) -> dict[str, str]:
    """The commands that a pyproject.toml declares: their names and the Python scripts to be."""
    declared = tomllib.loads(pyproject)["project"]["scripts"]
    return {name: _script(entry) for name, entry in declared.items()}


def _script(entry: str) -> str:
    module, _, function = entry.partition(":")
    return SCRIPT.format(module=module, function=function)


def _compiled(source: Path, shown_as: str, target: Path) -> Path | None:
    """Byte code of a module; None if it has a syntax error, which Python tells when it runs it."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(source), str(target), shown_as, True, invalidation_mode=mode)
    except py_compile.PyCompileError:
        return None
    return target


def _root_owned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "/__pycache__" in member.name:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
