# SPDX-License-Identifier: GPL-2.0-only
"""Guests that have written to their LPT structure before they go to another host: the host's update
copes with that, and the audit holds nothing against the host."""

from __future__ import annotations

import json
import struct
from typing import Any, Optional

import pytest

from tests.lab.test_migration import FAST, JOURNEYS, PV_HZ, SLOW, Lab, stop

_HEAD = struct.Struct("<IIQII")
WRITTEN = (0, 0, 2, FAST, PV_HZ)
"""revision, attributes, sequence_number, native_freq and pv_freq as the first host wrote them."""
FORGED = (
    (0, 0, 3, FAST, PV_HZ),
    (7, 7, (1 << 64) - 1, FAST, PV_HZ),
    # No host has run the VM, says this: so it was promised nothing.
    (7, 7, 1, 123, 456),
)


@pytest.fixture(scope="module")
def restored(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Each of FORGED on the next host, the VMs one after the other."""
    state = tmp_path_factory.mktemp("forged") / "state"
    stop(lab, JOURNEYS[0], FAST, state, keep=True)
    saved = (state / "saved").read_bytes()
    assert _HEAD.pack(*WRITTEN) in saved
    for number, forged in enumerate(FORGED):
        changed = saved.replace(_HEAD.pack(*WRITTEN), _HEAD.pack(*forged))
        (state / f"{number}").write_bytes(changed)
    options = [*JOURNEYS[0].host, "--cntfrq", str(SLOW), "--add", f"{state}:/tmp/state"]
    files = [f"/tmp/state/{number}" for number in range(len(FORGED))]
    done = lab(options, ["python3", "/tmp/guest/instrument.py", "restore", *files])
    assert done.status == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize(
    ("which", "number", "before", "old_hz"),
    [(0, 4, 3, FAST), (1, 0, (1 << 64) - 1, FAST), (2, 2, None, 0)],
)
def test_what_a_guest_writes_is_no_alarm(
    restored: list[dict[str, Any]], which: int, number: int, before: Optional[int], old_hz: int
) -> None:
    vm = restored[which]["vms"][-1]
    lpt: dict[str, Any] = vm["lpt"]
    assert lpt["structure"]["sequence_number"] == number
    assert (lpt["previous"] or {}).get("sequence_number") == before
    assert vm["findings"] == []
    (update,) = (e for e in restored[which]["events"][-1:] if e["kind"] == "update")
    assert (update["old_hz"], update["new_hz"]) == (old_hz, SLOW)
