# SPDX-License-Identifier: GPL-2.0-only
"""systemd's notification protocol: states, and descriptors that it holds for the next process.

See sd_notify(3) and sd_listen_fds(3). Where nobody listens, nothing is sent.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping

__all__ = ["has_store", "notify", "received_fds", "received_listeners", "remove_fd", "store_fd"]

_FIRST_FD = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# A service manager that is stuck must not keep us from counting.
_SECONDS = 5.0
# FileDescriptorName= of lpttrace.socket.
_LISTENER = "http"


def notify(*lines: str, fds: Iterable[int] = ()) -> bool:
    """Send assignments such as READY=1, with descriptors; False if there is nobody to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    rights = array.array("i", fds)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SECONDS)
            channel.connect(address)
            channel.sendmsg(["\n".join(lines).encode()], ancillary)
    except OSError:
        # The service manager is no reason to end.
        return False
    return True


def has_store(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether descriptors can be stored: systemd says how many since 254; before, one must try."""
    return bool(environment.get("NOTIFY_SOCKET")) and environment.get("FDSTORE", "1") != "0"


def store_fd(name: str, fd: int) -> bool:
    """Have systemd hold the descriptor under that name; False if nobody will."""
    return has_store() and notify("FDSTORE=1", "FDPOLL=0", f"FDNAME={name}", fds=[fd])


def remove_fd(name: str) -> bool:
    """Have systemd close all that it holds under that name; False if nobody will."""
    return has_store() and notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def received_fds(environment: MutableMapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """What was stored, if it is for this process; asked again, nothing.

    A name may be there more than once: the newest is first.
    """
    found = _passed(environment)
    for variable in _VARIABLES:
        environment.pop(variable, None)
    return [(name, fd) for name, fd in found if name != _LISTENER]


def received_listeners(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that systemd listens on for us (systemd.socket(5)): one for every ListenStream=.

    To be asked before received_fds.
    """
    return [socket.socket(fileno=fd) for name, fd in _passed(environment) if name == _LISTENER]


def _passed(environment: Mapping[str, str]) -> list[tuple[str, int]]:
    pid, count, names = (environment.get(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    numbers = range(_FIRST_FD, _FIRST_FD + int(count))
    for fd in numbers:
        os.set_inheritable(fd, False)
    return list(zip(names.split(":"), numbers))
