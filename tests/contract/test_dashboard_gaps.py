# SPDX-License-Identifier: GPL-2.0-only
"""What dashboards tell of LPT updates after a scrape that failed, by Prometheus' own evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.contract.dashboards import (
    DASHBOARDS,
    Query,
    annotation_queries,
    panel_queries,
    promtool,
)

UPDATES = [
    query
    for path in DASHBOARDS
    for query in (*annotation_queries(path), *panel_queries(path))
    if query.place in ("LPT updates that failed", "LPT updates / A")
]

SERIES = {
    "updates": 'lpttrace_lpt_updates_total{instance="host-1",vm="10",result="einval"}',
    "vm": 'lpttrace_vm_info{instance="host-1",vm="10",name="web"}',
}

# A sample a minute: three updates of long ago and a scrape that failed, or a VM that is new with
# two; and how many a query should tell of at which time.
CASES = (
    ({"updates": "3x99 stale 3x100", "vm": "1x99 stale 1x100"}, {"101m": 0, "104m": 0}),
    ({"updates": "_x100 2x100", "vm": "_x100 1x100"}, {"101m": 2, "110m": 0}),
)


@pytest.mark.parametrize("query", UPDATES, ids=lambda query: query.id)
def test_updates_count_once_whatever_scrapes_fail(query: Query, tmp_path: Path) -> None:
    chosen = re.sub(r'=~?"\$\w+"', '=~".*"', query.expr).replace("$__rate_interval", "4m")
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": SERIES[it], "values": v} for it, v in values.items()],
            "promql_expr_test": [
                {
                    "expr": f"sum({chosen}) or vector(0)",
                    "eval_time": time,
                    "exp_samples": [{"labels": "{}", "value": updates}],
                }
                for time, updates in told.items()
            ],
        }
        for values, told in CASES
    ]
    file = tmp_path / "queries.test.yml"
    file.write_text(json.dumps({"evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", file)
