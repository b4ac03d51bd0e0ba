# SPDX-License-Identifier: GPL-2.0-only
"""How much of what is counted is exposed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lpttrace.model import Guest
from lpttrace.model_order import matcher
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["EVERYTHING", "View", "select"]


@dataclass(frozen=True)
class View:
    """What an operator chooses.

    Without per_vcpu the vCPUs of a VM are one, and the label vcpu is gone. A VM is there if one of
    the patterns of vms matches it, or there are none, and none of not_vms does. created adds to
    OpenMetrics when each counter was 0.
    """

    per_vcpu: bool = True
    vms: tuple[str, ...] = ()
    not_vms: tuple[str, ...] = ()
    created: bool = False

    def labels(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Those of a metric's labels that there are."""
        return tuple(label for label in labels if self.per_vcpu or label != "vcpu")


EVERYTHING = View()


def select(snapshot: Snapshot, guests: Mapping[VmKey, Guest], view: View) -> Snapshot:
    """The snapshot without the VMs that are not to be exposed; their vCPUs may still be in it."""
    if not view.vms and not view.not_vms:
        return snapshot
    wanted = [matcher(pattern) for pattern in view.vms]
    unwanted = [matcher(pattern) for pattern in view.not_vms]

    def shown(guest: Guest) -> bool:
        if wanted and not any(matches(guest) for matches in wanted):
            return False
        return not any(matches(guest) for matches in unwanted)

    return replace(snapshot, vms=tuple(vm for vm in snapshot.vms if shown(guests[vm.key])))
