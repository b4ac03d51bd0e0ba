# SPDX-License-Identifier: GPL-2.0-only
"""Labels in parts, each written once: those of a VM or vCPU, and those of what it did."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Optional

from lpttrace.abi import CALLS, CLASSES, QUESTIONS, TIMERS, TrapClass
from lpttrace.catalog import AUDIT_REASONS, UPDATE_RESULTS

__all__ = [
    "CALL",
    "CLASS",
    "DIRECTION",
    "NONE",
    "QUESTION",
    "REASON",
    "RESULT",
    "TIMER",
    "ClassLabels",
    "Labels",
    "created_at",
    "since",
    "whose",
]


class Labels(NamedTuple):
    """Values of some labels, and how they are written within braces.

    The text of what others come after ends with a comma. since_ns is when the counters of whom they
    name were 0 (CLOCK_MONOTONIC), 0 if that is not known.
    """

    values: tuple[str, ...] = ()
    text: str = ""
    since_ns: int = 0


NONE = Labels()


def whose(**labels: str) -> Labels:
    """Labels that say whose the numbers are."""
    return Labels(tuple(labels.values()), _text(labels))


def since(ns: int, labels: Labels) -> Labels:
    """The same of what was 0 at that time (CLOCK_MONOTONIC)."""
    return labels._replace(since_ns=ns)


def created_at(labels: Labels, boot: Optional[float]) -> str:
    """When their counters were 0, in Unix time; empty if that is not known, or boot is None."""
    if not labels.since_ns or boot is None:
        return ""
    return _unix_time(labels.since_ns, boot)


# Of some thousand rows; of a vCPU it is always the same.
@lru_cache(maxsize=4096)
def _unix_time(since_ns: int, boot: float) -> str:
    return f"{boot + since_ns / 10**9:.3f}"


def what(**labels: str) -> Labels:
    """Labels that say what was counted; they are written before whose it is."""
    return Labels(tuple(labels.values()), _text(labels) + ",")


def _text(labels: dict[str, str]) -> str:
    # By name, as prometheus_client has it.
    return ",".join(f'{name}="{_escape(labels[name])}"' for name in sorted(labels))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class ClassLabels(NamedTuple):
    """Of a class of traps: plain, and with each reason why its time is kept apart."""

    timer: bool
    plain: Labels
    scheduled_out: Labels
    userspace: Labels


def _class(cls: TrapClass) -> ClassLabels:
    timer = cls.kind == "timer"
    labels = dict(zip(("register", "direction") if timer else ("function",), cls[1:]))
    apart = [what(**labels, reason=reason) for reason in ("scheduled_out", "userspace")]
    return ClassLabels(timer, what(**labels), *apart)


CLASS = {cls: _class(cls) for cls in CLASSES if cls.kind != "none"}
TIMER = {timer: what(timer=timer) for timer in TIMERS}
RESULT = {result: what(result=result) for result in UPDATE_RESULTS}
REASON = {reason: what(reason=reason) for reason in AUDIT_REASONS}
DIRECTION = {way: what(direction=way) for way in ("native_to_pv", "pv_to_native")}
CALL = {call: [what(call=call, result=result) for result in ("done", "failed")] for call in CALLS}
QUESTION = {
    question: [what(question=question, answer=answer) for answer in ("granted", "refused")]
    for question in QUESTIONS
}
