# SPDX-License-Identifier: GPL-2.0-only
"""What libvirt and OpenStack call a VM, from libvirt's run-time XML.

libvirt keeps one file for every QEMU that runs, readable by root. Nova puts its own names into it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

__all__ = ["RUN_DIRECTORY", "Domain", "Domains", "read_domain"]

RUN_DIRECTORY = Path("/run/libvirt/qemu")

_CHUNK = 1 << 16
# What is wanted stands before the devices: of a real VM within some tens of KiB.
_MOST_BYTES = 1 << 20
_MOST_DEPTH = 64

_NOVA = "http://openstack.org/xmlns/libvirt/nova/"
_DOMAIN = ("domstatus", "domain")
_INSTANCE = (*_DOMAIN, "metadata", "nova:instance")

# Where the text of an element, or the value of an attribute, is a field of Domain.
_TEXTS = {
    (*_DOMAIN, "name"): "name",
    (*_DOMAIN, "uuid"): "uuid",
    (*_INSTANCE, "nova:name"): "instance",
    (*_INSTANCE, "nova:owner", "nova:project"): "project",
}
_ATTRIBUTES = {
    (("domstatus",), "pid"): "pid",
    ((*_INSTANCE, "nova:flavor"), "name"): "flavor",
    ((*_INSTANCE, "nova:owner", "nova:project"), "uuid"): "project_uuid",
}
_AFTER = (*_DOMAIN, "devices")


@dataclass(frozen=True)
class Domain:
    """name and uuid are libvirt's; instance, project and flavor OpenStack's, empty without it."""

    pid: int
    name: str = ""
    uuid: str = ""
    instance: str = ""
    project: str = ""
    project_uuid: str = ""
    flavor: str = ""


class _Reader:
    """Takes what is wanted from a document, and keeps nothing else of it.

    A document type is refused. So there are no entities in it but those of XML itself, and none
    that grows or that names another file.
    """

    def __init__(self) -> None:
        # Imported when there is such a file: most hosts have none.
        from xml.parsers import expat

        self._failure = expat.ExpatError
        self.found: dict[str, str] = {}
        self.done = False
        self._path: list[str] = []
        self._text: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add

    def feed(self, data: bytes, last: bool) -> None:
        """ValueError if that is no XML, or none that is read here."""
        try:
            self._parser.Parse(data, last)
        except (self._failure, LookupError) as error:
            raise ValueError(str(error)) from error

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        self._path.append(f"nova:{local}" if uri.startswith(_NOVA) else name)
        if len(self._path) > _MOST_DEPTH:
            raise ValueError("its elements are too deep")
        self._text.clear()
        path = tuple(self._path)
        self.done = self.done or path == _AFTER
        for attribute, value in attributes.items():
            self._keep(_ATTRIBUTES.get((path, attribute)), value)

    def _add(self, text: str) -> None:
        self._text.append(text)

    def _end(self, _: str) -> None:
        self._keep(_TEXTS.get(tuple(self._path)), "".join(self._text).strip())
        self._path.pop()
        self._text.clear()

    def _keep(self, field: Optional[str], value: str) -> None:
        if field and not self.done:
            self.found.setdefault(field, value)


def read_domain(path: Path) -> Optional[Domain]:
    """The VM that a file is about; None if it cannot be read, or is not such a file."""
    try:
        found = _read(path)
        return Domain(int(found.pop("pid", "")), **found)
    except (OSError, ValueError):
        return None


def _read(path: Path) -> dict[str, str]:
    reader, size = _Reader(), 0
    # Whatever else the directory may have: a link is not followed, a pipe not waited for.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        while not reader.done:
            data = file.read(_CHUNK)
            size += len(data)
            if size > _MOST_BYTES:
                raise ValueError("it is too long")
            reader.feed(data, last=not data)
            if not data:
                break
    return reader.found


# What a file is known by: it is read again when that changes.
_Version = tuple[int, int, int]


class Domains:
    """libvirt's VMs; a file is read once, and again when it is another one or has changed."""

    def __init__(self, directory: Path = RUN_DIRECTORY) -> None:
        self._directory = directory
        self._known: dict[str, tuple[_Version, Optional[Domain]]] = {}
        self._by_pid: dict[int, list[Domain]] = {}

    def refresh(self) -> None:
        """Look what there is by now."""
        known: dict[str, tuple[_Version, Optional[Domain]]] = {}
        for name, version in self._files():
            before = self._known.get(name)
            if before and before[0] == version:
                known[name] = before
            else:
                known[name] = version, read_domain(self._directory / name)
        if known != self._known:
            self._by_pid = {}
            for _, domain in sorted(known.values(), key=lambda file: file[0], reverse=True):
                if domain is not None:
                    self._by_pid.setdefault(domain.pid, []).append(domain)
        self._known = known

    def _files(self) -> Iterator[tuple[str, _Version]]:
        with suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if not entry.name.endswith(".xml"):
                    continue
                # It may have gone meanwhile.
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield entry.name, (found.st_mtime_ns, found.st_ino, found.st_size)

    def find(self, pid: int, uuid: str, name: str) -> Optional[Domain]:
        """The VM of that process, which says itself that it has this UUID, or else this name.

        The pid alone does not tell: a file may be left behind, and its pid be another's by now.
        """
        newest_first = self._by_pid.get(pid, ())
        return next((domain for domain in newest_first if _same(domain, uuid, name)), None)


def _same(domain: Domain, uuid: str, name: str) -> bool:
    if uuid and domain.uuid:
        return uuid.casefold() == domain.uuid.casefold()
    return bool(name) and name == domain.name
