# SPDX-License-Identifier: GPL-2.0-only
"""Counts of traps from three mouths: the guest's own, `top --json` and a scrape."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.lab.ops import FUNCTION_IDS

__all__ = ["Counts", "counts_by_vcpu", "metric_samples", "shown_of", "truth_of"]

Counts = dict[tuple[str, ...], int]


def truth_of(vcpu: dict[str, Any], traps: bool) -> Counts:
    """What one guest vCPU did, by ("hypercall", function) and ("timer", register, direction)."""
    counts: Counts = {}
    for number, call in vcpu["hypercalls"].items():
        key = ("hypercall", FUNCTION_IDS[int(number, 16)])
        counts[key] = counts.get(key, 0) + call["count"]
    for register, ways in vcpu["timer"].items():
        # Only CNTP_* traps, and only without VHE (kernel-facts, section 3).
        if traps and register.startswith("cntp_"):
            counts |= {("timer", register, way): n for way, n in ways.items()}
    return {key: count for key, count in counts.items() if count}


def shown_of(vcpu: dict[str, Any]) -> Counts:
    """The same, as `top --json` has it."""
    counts: Counts = {("hypercall", name): c["count"] for name, c in vcpu["hypercalls"].items()}
    for register, ways in vcpu["timer_traps"].items():
        counts |= {("timer", register, way): c["count"] for way, c in ways.items()}
    return {key: count for key, count in counts.items() if count}


def metric_samples(text: str, openmetrics: bool = False) -> dict[str, list[Any]]:
    parse = parse_openmetrics if openmetrics else parse_text
    samples: dict[str, list[Any]] = {}
    for family in parse(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


def counts_by_vcpu(samples: dict[str, list[Any]]) -> dict[tuple[str, int], Counts]:
    """Scraped counts by (vm, vcpu)."""
    counts: dict[tuple[str, int], Counts] = {}
    for sample in samples.get("lpttrace_hypercalls_total", []):
        vcpu = counts.setdefault((sample.labels["vm"], int(sample.labels["vcpu"])), {})
        vcpu["hypercall", sample.labels["function"]] = int(sample.value)
    for sample in samples.get("lpttrace_timer_traps_total", []):
        vcpu = counts.setdefault((sample.labels["vm"], int(sample.labels["vcpu"])), {})
        vcpu["timer", sample.labels["register"], sample.labels["direction"]] = int(sample.value)
    return {key: {k: n for k, n in vcpu.items() if n} for key, vcpu in counts.items()}
