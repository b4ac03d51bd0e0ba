# SPDX-License-Identifier: GPL-2.0-only
"""A guest that has written to its LPT structure before it goes to another host: the host's update
copes with that, and the audit holds nothing against the host."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.lab.test_migration import FAST, FIRST, PAUSE, PV_HZ, SLOW, Lab, stop

_HEAD = struct.Struct("<IIQII")
WRITTEN = (0, 0, 2, FAST, PV_HZ)
"""revision, attributes, sequence_number, native_freq and pv_freq as the first host wrote them."""


@pytest.fixture(scope="module")
def saved(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    state = tmp_path_factory.mktemp("forged") / "state"
    stop(lab, ["--cntfrq", str(FAST)], [*FIRST, *PAUSE], state, keep=True)
    return (state / "saved").read_bytes()


@pytest.mark.parametrize(
    ("forged", "number", "before"),
    [
        ((0, 0, 3, FAST, PV_HZ), 4, 3),
        ((7, 7, (1 << 64) - 1, FAST, PV_HZ), 0, (1 << 64) - 1),
        # No host has run the VM, says this: so it was promised nothing.
        ((7, 7, 1, 123, 456), 2, None),
    ],
)
def test_what_a_guest_writes_is_no_alarm(
    lab: Lab,
    saved: bytes,
    tmp_path: Path,
    forged: tuple[int, ...],
    number: int,
    before: Optional[int],
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    assert _HEAD.pack(*WRITTEN) in saved
    (state / "saved").write_bytes(saved.replace(_HEAD.pack(*WRITTEN), _HEAD.pack(*forged)))
    report = stop(lab, ["--cntfrq", str(SLOW)], [], state, keep=False)
    (vm,) = report["seen"]["vms"]
    lpt: dict[str, Any] = vm["lpt"]
    assert lpt["structure"]["sequence_number"] == number
    assert (lpt["previous"] or {}).get("sequence_number") == before
    assert vm["findings"] == []
