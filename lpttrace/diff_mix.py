# SPDX-License-Identifier: GPL-2.0-only
"""VMs whose load moved from some vCPUs to others, which are not alike. Pure.

What a VM's traps cost is what they cost on each vCPU, by the share that the vCPU has of them. If
the shares change, so does the sum, though nothing costs more: so it is made from those of before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lpttrace.diff_tables import Groups

__all__ = ["Amounts", "Mix", "mix_of"]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Amounts = tuple[Array, Array]
"""Of items, before and after."""

# Of a vCPU that has fewer samples on a side, nothing can be made more of; it is taken as it is.
_FEW = 30

# But not if it has so many times that on the other side; and of no vCPU is made more than so many
# times what there is, because what is rare need not be in it.
_MANY = 2
_MOST = 4


@dataclass(frozen=True)
class Mix:
    """weights are of items, 0 of those not compared; moved says of the groups that most of what
    there was is on vCPUs that do hardly anything on the other side: nothing was made of them."""

    weights: Amounts
    moved: Flags

    def places(self, groups: Groups, group: int) -> list[int]:
        """The items of a group that are compared."""
        return [int(i) for i in np.flatnonzero((groups.where == group) & (self.weights[0] > 0))]

    def of(self, places: Sequence[int]) -> list[list[float]]:
        """Weights on both sides."""
        return [[float(side[place]) for place in places] for side in self.weights]


def mix_of(groups: Groups, amounts: Amounts, left_out: Flags) -> Mix:
    """Weights by which the items of a group have the same shares on both sides."""
    before, after = amounts
    kept = (~left_out).astype(np.float64)
    few = np.minimum(before, after) < _FEW
    gone = few & (np.maximum(before, after) >= _MANY * _FEW)
    gone |= _factors(groups, amounts, kept * ~few) > _MOST
    lost = [groups.sum(side * gone, kept) > groups.sum(side, kept) / 2 for side in amounts]
    moved = lost[0] | lost[1]
    stays = moved[groups.where]
    kept *= ~gone | stays
    return Mix((kept, kept * _factors(groups, amounts, kept * ~few * ~stays)), moved)


def _factors(groups: Groups, amounts: Amounts, alike: Array) -> Array:
    """By which the shares of those that are made alike would be; 1 of others."""
    before, after = amounts
    one, other = (groups.sum(side, alike)[groups.where] for side in amounts)
    factor = np.ones_like(alike)
    np.divide(before * other, after * one, out=factor, where=alike > 0)
    return factor
