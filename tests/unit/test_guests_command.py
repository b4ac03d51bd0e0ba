# SPDX-License-Identifier: GPL-2.0-only
"""What command lines of VMMs tell."""

from __future__ import annotations

import pytest

from lpttrace.guests_command import Identity, identity_of, vmm_kind

UUID = "6a0d6f0e-0f6b-4b7c-9d0e-1f2e3d4c5b6a"
OTHER = "11111111-2222-3333-4444-555555555555"
NOVA = f"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,version=27.1.0,uuid={UUID}"


@pytest.mark.parametrize(
    ("executable", "kind"),
    [
        ("qemu-system-aarch64", "qemu"),
        ("qemu-kvm", "qemu"),
        ("kvm", "qemu"),
        ("firecracker", "firecracker"),
        ("firecracker-v1.7.0-aarch64", "firecracker"),
        ("cloud-hypervisor", "cloud-hypervisor"),
        ("cloud-hypervisor-static-aarch64", "cloud-hypervisor"),
        ("crosvm", "crosvm"),
        ("lkvm", "kvmtool"),
        ("lkvm-static", "kvmtool"),
        ("kvmm", "kvmm"),
        ("my-qemu", "my-qemu"),
        ("", ""),
    ],
)
def test_kinds_of_vmm(executable: str, kind: str) -> None:
    assert vmm_kind(executable) == kind


@pytest.mark.parametrize(
    ("command", "uuid", "product"),
    [
        (("-uuid", UUID), UUID, ""),
        (("-smbios", NOVA), UUID, "OpenStack Nova"),
        (("-uuid", OTHER, "-smbios", NOVA), OTHER, "OpenStack Nova"),
        (("--smbios", "type=1,product=a,,b"), "", "a,b"),
        (("-smbios", "type=0,vendor=x", "-smbios", NOVA), UUID, "OpenStack Nova"),
        (("-smbios", NOVA, "-smbios", "type=1,product=Later"), UUID, "Later"),
        (("-smbios", f"type=3,uuid={UUID},product=x"), "", ""),
        (("-smbios", "file=/table"), "", ""),
        (("-smbios",), "", ""),
        (("-uuid",), "", ""),
    ],
)
def test_uuid_and_product_of_qemu(command: tuple[str, ...], uuid: str, product: str) -> None:
    found = identity_of("qemu-kvm", ("qemu-kvm", *command))
    assert found == Identity("qemu", "", uuid, product)


@pytest.mark.parametrize(
    ("command", "identity"),
    [
        ("firecracker --id web-1 --api-sock /run/s", Identity("firecracker", "web-1")),
        ("firecracker --api-sock /run/s", Identity("firecracker")),
        ("crosvm run --name web --cpus 2", Identity("crosvm", "web")),
        ("crosvm run --name=web=1", Identity("crosvm", "web=1")),
        ("lkvm run --name web -k Image", Identity("kvmtool", "web")),
        ("lkvm run --name", Identity("kvmtool")),
        ("cloud-hypervisor --kernel x", Identity("cloud-hypervisor")),
        (
            f"cloud-hypervisor --platform num_pci_segments=2,uuid={UUID}",
            Identity("cloud-hypervisor", uuid=UUID),
        ),
        (f"wrapper -name guest=web -uuid {UUID}", Identity("wrapper", "web", UUID)),
        ("vmm", Identity("vmm")),
    ],
)
def test_what_other_vmms_are_told(command: str, identity: Identity) -> None:
    words = command.split()
    assert identity_of(words[0], words) == identity


def test_a_name_may_be_anything() -> None:
    for name in ("a" * 100_000, "\x1b[31m\u202e", "=", "guest=guest=", "a\nb"):
        written = name.replace(",", ",,")
        found = identity_of("qemu-kvm", ("qemu-kvm", "-name", f"guest={written}"))
        assert found.name == name
