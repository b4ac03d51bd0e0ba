# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C, whenever it comes."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.lab.conftest import LabRun


def test_ctrl_c_at_any_moment_detaches_everything(
    lab: Callable[[list[str], list[str]], LabRun],
) -> None:
    done = lab(["--timeout", "1800"], ["python3", "/tmp/guest/interrupt.py"])
    assert done.status == 0, done.stderr
    for case in json.loads(done.stdout):
        assert "Traceback" not in case["stderr"], case
        assert (case["kprobes"], case["programs"]) == (0, 0), case
        assert case["status"] in (0, 130, -2), case
