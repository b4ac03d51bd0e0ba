# SPDX-License-Identifier: GPL-2.0-only
"""model_lpt.py: the audit of what was published to a guest."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Optional

import pytest

from lpttrace.catalog import AUDIT_REASONS
from lpttrace.model_lpt import audit, lpt_state, parts_per_billion, scale_errors
from lpttrace.snapshot import Account, LptStructure, LptUpdates

# 100 MHz for the guest on hosts of 25 and 62.5 MHz: the factors are 4, 1/4, 8/5 and 5/8, of which
# 8/5 is cut off where 64 bits end.
AT_25 = LptStructure(0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
AT_62 = LptStructure(0, 0, 2, 62_500_000, 100_000_000, (8 << 63) // 5, (5 << 63) // 8, 63, 63)
HZ = 25_000_000


def published(
    structure: Optional[LptStructure], previous: Optional[LptStructure] = None
) -> LptUpdates:
    return LptUpdates({"published": Account(1, 100)}, 0, 0, structure, 5, previous)


def reasons(
    structure: LptStructure,
    previous: Optional[LptStructure] = None,
    counter_hz: Optional[int] = None,
) -> list[str]:
    return [finding.reason for finding in audit(published(structure, previous), counter_hz)]


def test_right_structures() -> None:
    assert reasons(AT_25, counter_hz=HZ) == []
    assert reasons(AT_62, counter_hz=62_500_000) == []
    # The host's frequency may be unknown.
    assert reasons(AT_25) == []


def test_right_after_a_migration() -> None:
    assert reasons(replace(AT_25, sequence_number=4), AT_62, HZ) == []
    assert reasons(replace(AT_62, sequence_number=12), replace(AT_25, sequence_number=10)) == []


def test_nothing_published_is_nothing_wrong() -> None:
    assert audit(published(None)) == ()


@pytest.mark.parametrize(
    ("wrong", "reason", "said"),
    [
        ({"revision": 1}, "revision", "revision is 1, not 0"),
        ({"attributes": 8}, "attributes", "attributes is 8, not 0"),
        ({"sequence_number": 3}, "sequence", "sequence number 3 is of an unfinished update"),
        ({"sequence_number": 0}, "sequence", "sequence number 0 is of an unfinished update"),
        ({"native_freq": 0}, "native_frequency", "native frequency is 0"),
        ({"pv_freq": 0}, "pv_frequency", "PV frequency is 0"),
        ({"scale_mult": 0}, "native_to_pv", "factor native_to_pv is off by -1e+09 parts"),
        ({"rscale_mult": 0}, "pv_to_native", "factor pv_to_native is off by -1e+09 parts"),
        ({"fracbits": 60}, "native_to_pv", "factor native_to_pv is off by 1e+09 parts"),
        ({"rfracbits": 64}, "pv_to_native", "factor pv_to_native is off by -5e+08 parts"),
    ],
)
def test_every_reason(wrong: dict[str, int], reason: str, said: str) -> None:
    (finding,) = audit(published(replace(AT_25, **wrong)))
    assert finding.reason == reason
    assert finding.text.startswith(said)
    assert reason in AUDIT_REASONS


def test_the_frequency_of_another_host() -> None:
    (finding,) = audit(published(AT_25), 62_500_000)
    assert finding.reason == "native_frequency"
    assert "25000000 Hz, but this host's counter runs at 62500000 Hz" in finding.text


def test_a_guest_that_was_promised_another_frequency() -> None:
    before = replace(AT_62, pv_freq=50_000_000)
    (finding,) = audit(published(replace(AT_25, sequence_number=4), before), HZ)
    assert finding.reason == "pv_frequency"
    assert "100000000 Hz, but the guest was promised 50000000 Hz" in finding.text


@pytest.mark.parametrize("number", [2, 6])
def test_a_number_of_runs_that_does_not_follow(number: int) -> None:
    (finding,) = audit(published(replace(AT_25, sequence_number=number), AT_62))
    assert (finding.reason, finding.text) == ("sequence", f"sequence number is {number}, not 4")


def test_everything_wrong_at_once() -> None:
    wrong = LptStructure(1, 1, 1, 1, 1, 1, 1, 1, 1)
    assert reasons(wrong, AT_62, HZ) == list(AUDIT_REASONS)


@pytest.mark.parametrize("structure", [AT_25, AT_62])
@pytest.mark.parametrize(
    ("field", "reason"), [("scale_mult", "native_to_pv"), ("rscale_mult", "pv_to_native")]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tolerance_is_one_unit_of_the_last_place(
    structure: LptStructure, field: str, reason: str, sign: int
) -> None:
    bits = structure.fracbits if field == "scale_mult" else structure.rfracbits
    ratio = Fraction(structure.pv_freq, structure.native_freq)
    exact = (ratio if field == "scale_mult" else 1 / ratio) * (1 << bits)
    # The last whole number within a unit on this side, and the first outside.
    within = exact.__floor__() + 1 if sign > 0 else exact.__ceil__() - 1
    assert 0 < abs(within - exact) <= 1 < abs(within + sign - exact)
    assert reasons(replace(structure, **{field: within})) == []
    assert reasons(replace(structure, **{field: within + sign})) == [reason]


def test_a_factor_with_too_few_bits_is_wrong_though_rounded_well() -> None:
    # 1.6 in a quarter: 6 / 4, which is the nearest, and 6 % off.
    assert reasons(replace(AT_62, scale_mult=6, fracbits=2)) == ["native_to_pv"]
    assert reasons(replace(AT_62, rscale_mult=3, rfracbits=2)) == ["pv_to_native"]


@pytest.mark.parametrize("bits", [65, 128, 1 << 20])
def test_more_fraction_bits_than_a_factor_has_are_wrong(bits: int) -> None:
    assert reasons(replace(AT_25, fracbits=bits)) == ["native_to_pv"]
    assert reasons(replace(AT_25, rfracbits=bits)) == ["pv_to_native"]


@pytest.mark.parametrize("billionths", [1, 20_000, -20_000])
def test_errors_in_parts_per_billion(billionths: int) -> None:
    mult = AT_25.scale_mult * (10**9 + billionths) // 10**9
    error = scale_errors(replace(AT_25, scale_mult=mult))["native_to_pv"]
    assert parts_per_billion(error) == str(billionths)
    (finding,) = audit(published(replace(AT_25, scale_mult=mult)))
    assert finding.text == f"factor native_to_pv is off by {billionths} parts per billion"


def test_no_frequency_no_error() -> None:
    assert scale_errors(replace(AT_25, native_freq=0)) == {}
    assert scale_errors(replace(AT_25, pv_freq=0)) == {}
    assert scale_errors(AT_25) == {"native_to_pv": 0, "pv_to_native": 0}


@pytest.mark.parametrize(
    ("lpt", "state"),
    [
        (None, None),
        (LptUpdates(), "unknown"),
        (LptUpdates(nothing=2), "off"),
        (LptUpdates({"einval": Account(1, 1)}, 0, 22), "failed"),
        (published(AT_25), "published"),
        (published(replace(AT_25, revision=1)), "wrong"),
    ],
)
def test_state(lpt: Optional[LptUpdates], state: Optional[str]) -> None:
    assert lpt_state(lpt, HZ) == state


def test_the_state_knows_the_host() -> None:
    assert lpt_state(published(AT_62), HZ) == "wrong"
    assert lpt_state(published(AT_62)) == "published"
