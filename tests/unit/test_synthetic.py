# SPDX-License-Identifier: GPL-2.0-only
"""Made-up counters behave like real ones."""

from __future__ import annotations

import pytest

from lpttrace.errors import UsageError
from lpttrace.model import compare, not_visible, tally
from lpttrace.model_lpt import lpt_state
from lpttrace.synthetic import SyntheticSource, identify, parse_size


def test_counts_depend_on_the_time_alone() -> None:
    times = iter((100, 100 + 10**9, 100 + 10**9, 100 + 10**10, 100 + 10**10))
    with SyntheticSource(4, 2, clock=lambda: next(times)) as source:
        first, second = source.read(), source.read()
    model = compare(tally(first), tally(second), identify(second))
    assert model.seconds == 9.0
    assert not_visible(second) == ()
    assert len(model.vms) == 4 and len(second.vcpus) == 8
    assert {lpt_state(vm.counters.lpt) for vm in model.vms} == {"published", "off", "failed"}
    for vm in model.vms:
        assert vm.guest.name.startswith("synthetic")
        assert vm.hypercalls is not None and (vm.hypercalls.per_second or 0) > 0
        assert vm.timer_traps is not None and 2_000 < (vm.timer_traps.mean_ns or 0) < 3_000


def test_sizes() -> None:
    assert parse_size("64x8") == (64, 8)


@pytest.mark.parametrize("text", ["", "64", "x8", "0x8", "64x", "-1x8", "1000x1000", "64X8 "])
def test_sizes_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="cannot make up VMs"):
        parse_size(text)
