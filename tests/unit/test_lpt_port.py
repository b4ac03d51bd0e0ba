# SPDX-License-Identifier: GPL-2.0-only
"""The audit of what a right host publishes, whatever the guest has written to its structure, and
of what it would not publish. The other side is a model of our kernel port."""

from __future__ import annotations

from random import Random
from typing import Optional

import pytest

from lpttrace import abi
from lpttrace.decode import decode_lpt
from lpttrace.model_lpt import audit
from lpttrace.snapshot import LptUpdates

from .lpt_port import FIELDS, U64, publish

HERTZ = (1, 1_000_000, 25_000_000, 62_500_000, 100_000_000, (1 << 32) - 1)
NUMBERS = (0, 1, 2, 3, 4, 5, 1 << 32, (1 << 63) - 1, 1 << 63, U64 - 3, U64 - 2, U64 - 1, U64)
SIZE = len(bytes(abi.Structure()))


def told(memory: bytes, published: bytes) -> LptUpdates:
    """As the agent sees it."""
    vm = abi.Vm(published_ns=1)
    vm.previous = abi.Structure.from_buffer_copy(memory)
    vm.published = abi.Structure.from_buffer_copy(published)
    return decode_lpt(vm)


def wrong(memory: bytes, published: bytes, native_hz: int) -> list[str]:
    return [finding.reason for finding in audit(told(memory, published), native_hz)]


def changed(structure: bytes, **fields: int) -> bytes:
    made = abi.Structure.from_buffer_copy(structure)
    for name, value in fields.items():
        setattr(made, name, value)
    return bytes(made)


def written(random: Random, promised_hz: int) -> bytes:
    """Anything, and often what comes near to being right."""
    fields = {"sequence_number": random.choice((*NUMBERS, random.getrandbits(64)))}
    if random.random() < 0.7:
        fields["pv_freq"] = promised_hz
    if random.random() < 0.5:
        fields["native_freq"] = random.choice((0, *HERTZ))
    return changed(random.choice((bytes(SIZE), random.randbytes(SIZE))), **fields)


def journeys(seed: int) -> list[tuple[bytes, bytes, int]]:
    """A guest writes, and is run on the next host: memory, what was published there, its Hz."""
    random, promised_hz, made = Random(seed), HERTZ[seed % len(HERTZ)], []
    memory = bytes(SIZE)
    for _ in range(200):
        native_hz = random.choice((*HERTZ, random.randint(1, (1 << 32) - 1)))
        published = publish(memory, native_hz, promised_hz)
        if published is not None:
            made.append((memory, published, native_hz))
        memory = random.choice((published or memory, written(random, promised_hz)))
    return made


@pytest.mark.parametrize("seed", range(30))
def test_no_guest_raises_an_alarm(seed: int) -> None:
    made = journeys(seed)
    assert len(made) > 50
    assert [wrong(*journey) for journey in made] == [[]] * len(made)


@pytest.mark.parametrize("number", NUMBERS)
def test_no_number_that_a_guest_writes_is_an_alarm(number: int) -> None:
    memory = changed(bytes(SIZE), sequence_number=number, pv_freq=HERTZ[4], native_freq=HERTZ[3])
    published = publish(memory, HERTZ[2], HERTZ[4])
    assert published is not None
    assert wrong(memory, published, HERTZ[2]) == []


@pytest.mark.parametrize("number", [0, 1])
def test_memory_that_says_no_host_was_there_promises_nothing(number: int) -> None:
    memory = changed(b"\xa5" * SIZE, sequence_number=number)
    published = publish(memory, HERTZ[2], HERTZ[4])
    assert published is not None
    lpt = told(memory, published)
    assert lpt.structure is not None and lpt.structure.sequence_number == 2
    assert (lpt.previous, audit(lpt, HERTZ[2])) == (None, ())


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", FIELDS)
def test_one_field_that_is_not_what_the_port_writes_is_an_alarm(name: str, seed: int) -> None:
    random = Random(seed)
    for memory, published, native_hz in journeys(seed):
        for value in values(random, name, published, memory):
            assert wrong(memory, changed(published, **{name: value}), native_hz), (name, value)


def values(random: Random, name: str, published: bytes, memory: bytes) -> list[int]:
    """Others than the right one; of a factor, not the next two, which may be as good."""
    right = int(getattr(abi.Structure.from_buffer_copy(published), name))
    bits = 8 * getattr(abi.Structure, name).size
    near = 2 if "mult" in name else 1
    every = [0, right - near, right + near, right ^ 1 << bits - 1, random.getrandbits(bits)]
    mask = (1 << bits) - 1
    return [v & mask for v in every if near <= abs((v & mask) - right) and seen(name, v, memory)]


def seen(name: str, value: int, memory: bytes) -> bool:
    # Without a host before, which number is the right one depends on whether that can be seen.
    before: Optional[int] = abi.Structure.from_buffer_copy(memory).sequence_number
    return name != "sequence_number" or not value or bool(value & 1) or before not in (0, 1)


@pytest.mark.parametrize(
    ("before", "after"), [(3, 5), (3, 6), (2, 2), (U64, 2), (U64 - 1, 1), (U64 - 3, 0), (4, 0)]
)
def test_a_number_that_does_not_follow_is_an_alarm(before: int, after: int) -> None:
    memory = changed(bytes(SIZE), sequence_number=before, pv_freq=HERTZ[4], native_freq=HERTZ[3])
    published = publish(memory, HERTZ[2], HERTZ[4])
    assert published is not None
    assert wrong(memory, changed(published, sequence_number=after), HERTZ[2]) == ["sequence"]


def test_the_promise_must_be_kept_where_a_host_was_there() -> None:
    memory = changed(bytes(SIZE), sequence_number=2, pv_freq=HERTZ[4], native_freq=HERTZ[3])
    published = publish(changed(memory, sequence_number=0), HERTZ[2], HERTZ[3])
    assert published is not None
    broken = changed(published, sequence_number=4)
    assert wrong(memory, broken, HERTZ[2]) == ["pv_frequency"]
