# SPDX-License-Identifier: GPL-2.0-only
"""Everything lpttrace raises on purpose, and the exit status each ends the command with.

LpttraceError               1  something failed while running
    UsageError              2  the command line makes no sense
    HostError               3  this host cannot do it: architecture, KVM, BTF, tracepoints
    PermissionError_        4  not root, or the kernel is locked down
    BccError                5  bcc is missing, is another package, or failed to compile or load
    ProtocolError           6  loader and agent, or kernel side and agent, do not fit together

A message is one line in lower case: what failed, on which object, why, what to do.
"""

from __future__ import annotations

__all__ = [
    "BccError",
    "HostError",
    "LpttraceError",
    "PermissionError_",
    "ProtocolError",
    "UsageError",
]


class LpttraceError(Exception):
    """Base class: one line for the user, and the exit status of the command."""

    exit_status = 1


class UsageError(LpttraceError):
    """The arguments contradict each other or name something that does not exist."""

    exit_status = 2


class HostError(LpttraceError):
    """The host lacks something without which nothing can be measured."""

    exit_status = 3


class PermissionError_(LpttraceError):
    """The host has what is needed and refuses it to this process."""

    exit_status = 4


class BccError(LpttraceError):
    """bcc cannot be used: absent, an unrelated package, or it refused the programs."""

    exit_status = 5


class ProtocolError(LpttraceError):
    """Two parts of lpttrace disagree about a layout or a message."""

    exit_status = 6
