# SPDX-License-Identifier: GPL-2.0-only
"""btf.py on BTF that pahole made of C structures, and on damaged input."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lpttrace.btf import Btf, read_btf
from lpttrace.errors import HostError

SOURCE = """
struct other { int kvm; long vcpu_id; };
enum colour { RED, GREEN };
typedef int (*callback)(struct other *, enum colour);
struct kvm_vcpu {
	struct other first;
	callback call[3];
	void *kvm;
	unsigned flag : 3;
	unsigned wide : 13;
	int vcpu_id;
	union { int a; long b; } u;
};
struct kvm_vcpu vcpu;
"""


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("btf")
    (directory / "a.c").write_text(SOURCE)
    compiled, detached = directory / "a.o", directory / "a.btf"
    subprocess.run(["cc", "-g", "-c", "-o", compiled, directory / "a.c"], check=True)
    subprocess.run(["pahole", f"--btf_encode_detached={detached}", compiled], check=True)
    return detached.read_bytes()


def test_offsets(blob: bytes) -> None:
    offsets = Btf(blob).offsets("kvm_vcpu", ("first", "call", "kvm", "vcpu_id", "u"))
    assert offsets == {"first": 0, "call": 16, "kvm": 40, "vcpu_id": 52, "u": 56}


def test_same_member_of_another_structure(blob: bytes) -> None:
    assert Btf(blob).offsets("other", ("kvm", "vcpu_id")) == {"kvm": 0, "vcpu_id": 8}


@pytest.mark.parametrize(("structure", "member"), [("kvm_vcpu", "gone"), ("gone", "kvm")])
def test_missing_is_named(blob: bytes, structure: str, member: str) -> None:
    with pytest.raises(HostError, match=f"struct {structure}.{member} in the kernel's BTF"):
        Btf(blob).offsets(structure, (member,))


@pytest.mark.parametrize("data", [b"", b"\x9f", b"ELF!" * 10])
def test_not_btf(data: bytes) -> None:
    with pytest.raises(HostError, match="cannot use the kernel's BTF"):
        Btf(data)


def test_this_kernel() -> None:
    running = Path("/sys/kernel/btf/vmlinux")
    assert read_btf(running).offsets("list_head", ("next", "prev")) == {"next": 0, "prev": 8}
