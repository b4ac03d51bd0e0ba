# SPDX-License-Identifier: GPL-2.0-only
"""BPF objects by descriptor: made, linked to a kprobe, pinned, and opened again.

Standard library only: the loader imports this too.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import re
from pathlib import Path

from lpttrace.errors import LpttraceError
from lpttrace.maps import bpf, element_attr

__all__ = [
    "create_array",
    "is_bpffs",
    "kprobe_event",
    "link_to_event",
    "open_pin",
    "pin",
    "program_runs",
    "read_element",
    "start_run_statistics",
    "write_element",
]

_MAP_CREATE, _LOOKUP, _UPDATE, _PIN, _GET, _LINK_CREATE = 0, 1, 2, 6, 7, 28
_MAP_TYPE_ARRAY = 2
_MMAPABLE = 1 << 10
_INFO_BY_FD, _ENABLE_STATS = 15, 32
_STATS_RUN_TIME = 0
_ATTACH_PERF_EVENT = 41
_BPFFS_MAGIC = 0xCAFE4A11

_PERF_EVENT_OPEN = {"aarch64": 241, "x86_64": 298}
_PERF_FLAG_FD_CLOEXEC = 8
_PERF_EVENT_IOC_ENABLE = 0x2400
_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe")

_libc = ctypes.CDLL(None, use_errno=True)


class _CreateAttr(ctypes.Structure):
    # union bpf_attr for BPF_MAP_CREATE, as far as it is set (linux/bpf.h).
    _fields_ = [
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("inner_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    ]


class _PathAttr(ctypes.Structure):
    # For BPF_OBJ_PIN and BPF_OBJ_GET.
    _fields_ = [
        ("pathname", ctypes.c_uint64),
        ("fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class _LinkAttr(ctypes.Structure):
    # For BPF_LINK_CREATE.
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cookie", ctypes.c_uint64),
    ]


class _PerfEventAttr(ctypes.Structure):
    # struct perf_event_attr up to config2 (linux/perf_event.h, PERF_ATTR_SIZE_VER1).
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("bits", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_uint64),
        ("probe_offset", ctypes.c_uint64),
    ]


class _InfoAttr(ctypes.Structure):
    # union bpf_attr for BPF_OBJ_GET_INFO_BY_FD.
    _fields_ = [
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    ]


class _StatsAttr(ctypes.Structure):
    # union bpf_attr for BPF_ENABLE_STATS.
    _fields_ = [("type", ctypes.c_uint32)]


class _ProgramInfo(ctypes.Structure):
    # struct bpf_prog_info up to what is asked for. What is before stays zero: the kernel fills in
    # no more than there is room for, and lists only where a pointer is given.
    _fields_ = [
        ("before", ctypes.c_uint64 * 24),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    ]


def _raise(code: int, what: str) -> None:
    raise OSError(code, f"{os.strerror(code)} ({what})")


def create_array(name: str, value_size: int, entries: int, mappable: bool = False) -> int:
    """The descriptor of a new array of values of so many bytes, for MappedArray or not; OSError."""
    flags = _MMAPABLE if mappable else 0
    attr = _CreateAttr(_MAP_TYPE_ARRAY, 4, value_size, entries, flags, name=name.encode())
    fd, code = bpf(_MAP_CREATE, attr)
    if code:
        _raise(code, f"creating map {name}")
    return fd


def read_element(fd: int, index: int, size: int) -> bytes:
    """The value of an array's element; OSError."""
    key, value = ctypes.c_uint32(index), ctypes.create_string_buffer(size)
    _, code = bpf(_LOOKUP, element_attr(fd, key, value))
    if code:
        _raise(code, "reading a map")
    return value.raw


def write_element(fd: int, index: int, value: bytes) -> None:
    """Replace an array's element; OSError."""
    key, buffer = ctypes.c_uint32(index), ctypes.create_string_buffer(value, len(value))
    _, code = bpf(_UPDATE, element_attr(fd, key, buffer))
    if code:
        _raise(code, "writing a map")


def pin(fd: int, path: Path) -> None:
    """Keep the object under that name of a BPF file system; OSError, EINVAL for what has no pin."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _, code = bpf(_PIN, _PathAttr(ctypes.addressof(name), fd, 0))
    if code:
        _raise(code, f"pinning {path}")


def open_pin(path: Path) -> int:
    """A descriptor of the pinned object; OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    fd, code = bpf(_GET, _PathAttr(ctypes.addressof(name), 0, 0))
    if code:
        _raise(code, f"opening {path}")
    os.set_inheritable(fd, False)
    return fd


def is_bpffs(directory: Path) -> bool:
    """Whether a directory is of a BPF file system; OSError if there is none."""

    # struct statfs begins with the type, a long; it has 120 bytes on 64-bit machines.
    class Statfs(ctypes.Structure):
        _fields_ = [("type", ctypes.c_long), ("rest", ctypes.c_byte * 248)]

    found = Statfs()
    if _libc.statfs(os.fsencode(directory), ctypes.byref(found)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(directory))
    return int(found.type) & 0xFFFFFFFF == _BPFFS_MAGIC


def kprobe_event(function: str, returning: bool) -> int:
    """A perf event for a kprobe, or kretprobe, at a function; OSError.

    ENOENT may also say that this kernel has no perf PMU for kprobes.
    """
    name = ctypes.create_string_buffer(function.encode())
    config = 1 << _retprobe_bit() if returning else 0
    attr = _PerfEventAttr(
        int((_KPROBE_PMU / "type").read_text()),
        ctypes.sizeof(_PerfEventAttr),
        config,
        kprobe_func=ctypes.addressof(name),
    )
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    # Of all processes, on one CPU: the BPF program of a kprobe runs wherever it is hit.
    fd = _libc.syscall(number, ctypes.byref(attr), -1, 0, -1, _PERF_FLAG_FD_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), function)
    return int(fd)


def _retprobe_bit() -> int:
    text = (_KPROBE_PMU / "format" / "retprobe").read_text()
    found = re.fullmatch(r"config:(\d+)\s*", text)
    if not found:
        raise OSError(errno.EINVAL, f"unknown format {text!r} of the kprobe PMU")
    return int(found[1])


def link_to_event(program: int, event: int) -> int:
    """A link from a perf event to a program, which can be pinned and keeps both; OSError.

    Since 5.15 (b89fbfbb854c "bpf: Implement minimal BPF perf link"); EINVAL before.
    """
    fd, code = bpf(_LINK_CREATE, _LinkAttr(program, event, _ATTACH_PERF_EVENT))
    if code:
        _raise(code, "linking a program to an event")
    try:
        fcntl.ioctl(event, _PERF_EVENT_IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    os.set_inheritable(fd, False)
    return fd


def start_run_statistics() -> int:
    """Have the kernel time every BPF program of the host, until the descriptor is closed.

    The kernel closes it when this process dies in any way. LpttraceError if that is refused.
    """
    fd, code = bpf(_ENABLE_STATS, _StatsAttr(_STATS_RUN_TIME))
    if code:
        raise LpttraceError(
            "cannot switch on the kernel's statistics of BPF programs: "
            f"{os.strerror(code).lower()}; it needs CAP_SYS_ADMIN and Linux 5.8"
        )
    return fd


def program_runs(fd: int) -> tuple[int, int]:
    """How often a program has run while statistics were on, and the nanoseconds that took."""
    info = _ProgramInfo()
    attr = _InfoAttr(fd, ctypes.sizeof(info), ctypes.addressof(info))
    _, code = bpf(_INFO_BY_FD, attr)
    if code:
        raise LpttraceError(f"cannot ask about a BPF program: {os.strerror(code).lower()}")
    return info.run_cnt, info.run_time_ns
