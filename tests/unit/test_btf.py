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
enum colour { RED, GREEN = 41, BLUE };
enum { LOOSE = 7 } loose;
typedef int (*callback)(struct other *, enum colour);
struct inner { int pad; const volatile struct other aliased; };
typedef struct inner inner_t;
typedef const inner_t inner_alias;
struct kvm_vcpu {
	struct other first;
	callback call[3];
	void *kvm;
	unsigned flag : 3;
	unsigned wide : 13;
	int vcpu_id;
	union { int a; long b; } u;
	struct {
		int before;
		union { struct { char one; short two; }; int three; };
	};
	inner_alias arch;
	struct other *pointer;
};
struct kvm_vcpu vcpu;
struct after { int member; } after;
"""


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("btf")
    (directory / "a.c").write_text(SOURCE)
    compiled, detached = directory / "a.o", directory / "a.btf"
    subprocess.run(["cc", "-g", "-c", "-o", compiled, directory / "a.c"], check=True)
    subprocess.run(["pahole", f"--btf_encode_detached={detached}", compiled], check=True)
    return detached.read_bytes()


@pytest.mark.parametrize(
    ("path", "offset"),
    [
        ("kvm_vcpu.first", 0),
        ("kvm_vcpu.call", 16),
        ("kvm_vcpu.kvm", 40),
        ("kvm_vcpu.flag", 48),
        ("kvm_vcpu.vcpu_id", 52),
        ("kvm_vcpu.u", 56),
        # Members of members, a typedef of a typedef and qualifiers on the way.
        ("kvm_vcpu.first.vcpu_id", 8),
        ("kvm_vcpu.u.b", 56),
        ("kvm_vcpu.arch", 72),
        ("kvm_vcpu.arch.aliased", 80),
        ("kvm_vcpu.arch.aliased.vcpu_id", 88),
        # Unnamed structures and unions, which C looks through.
        ("kvm_vcpu.before", 64),
        ("kvm_vcpu.one", 68),
        ("kvm_vcpu.two", 70),
        ("kvm_vcpu.three", 68),
        # The same names elsewhere, and what comes after every other kind of type.
        ("other.kvm", 0),
        ("other.vcpu_id", 8),
        ("after.member", 0),
    ],
)
def test_offset(blob: bytes, path: str, offset: int) -> None:
    assert Btf(blob).offset(path) == offset


@pytest.mark.parametrize(
    "path",
    [
        "gone.kvm",
        "kvm_vcpu.gone",
        "kvm_vcpu.arch.gone",
        "kvm_vcpu.pointer.kvm",
        "kvm_vcpu.vcpu_id.kvm",
        "vcpu.kvm",
        "inner_t.pad",
        # A member of an unnamed structure is not one of every structure there is not.
        "gone.before",
        "gone.one",
    ],
)
def test_a_missing_member_is_named(blob: bytes, path: str) -> None:
    with pytest.raises(HostError, match=f"cannot find struct {path} in the kernel's BTF"):
        Btf(blob).offset(path)


def test_size(blob: bytes) -> None:
    assert (Btf(blob).size("other"), Btf(blob).size("kvm_vcpu")) == (16, 104)


@pytest.mark.parametrize("name", ["gone", "colour", "callback"])
def test_the_size_of_what_is_no_structure(blob: bytes, name: str) -> None:
    with pytest.raises(HostError, match=f"cannot find struct {name} in the kernel's BTF"):
        Btf(blob).size(name)


@pytest.mark.parametrize(("name", "value"), [("RED", 0), ("GREEN", 41), ("BLUE", 42)])
def test_enumerator(blob: bytes, name: str, value: int) -> None:
    assert Btf(blob).enumerator("colour", name) == value


@pytest.mark.parametrize(
    ("enumeration", "name"), [("colour", "GONE"), ("gone", "RED"), ("gone", "LOOSE")]
)
def test_a_missing_enumerator_is_named(blob: bytes, enumeration: str, name: str) -> None:
    with pytest.raises(HostError, match=f"cannot find {name} of enum {enumeration} in"):
        Btf(blob).enumerator(enumeration, name)


@pytest.mark.parametrize("data", [b"", b"\x9f", b"ELF!" * 10])
def test_not_btf(data: bytes) -> None:
    with pytest.raises(HostError, match="cannot use the kernel's BTF"):
        Btf(data)


def test_this_kernel() -> None:
    btf = read_btf(Path("/sys/kernel/btf/vmlinux"))
    assert (btf.offset("list_head.next"), btf.offset("list_head.prev")) == (0, 8)
    assert btf.size("list_head") == 16
    assert btf.enumerator("pid_type", "PIDTYPE_TGID") == 1
