# SPDX-License-Identifier: GPL-2.0-only
"""bpf/histogram.h, compiled for this machine, against abi.BUCKET_BOUNDS and abi.Histogram."""

from __future__ import annotations

import ctypes
import random
import subprocess
from bisect import bisect_left
from pathlib import Path

import pytest

from lpttrace import abi
from lpttrace.abi import BUCKET_BOUNDS, BUCKETS

BPF = Path(__file__).resolve().parents[2] / "bpf"

# compat.h names two helpers of bcc, which nothing here calls.
SOURCE = """
#include <linux/types.h>

u32 bpf_get_smp_processor_id(void);
int bpf_probe_read_kernel(void *to, u32 size, const void *from);

#include "histogram.h"

u64 bucket(u64 ns)
{
	return bucket_of(ns);
}

void count(struct lpt_histogram *histogram, u64 ns)
{
	count_in(histogram, ns);
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    directory = tmp_path_factory.mktemp("histogram")
    source, library = directory / "histogram.c", directory / "histogram.so"
    source.write_text(SOURCE)
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    includes = ["-nostdinc", f"-I{BPF}", f"-I{BPF / 'include'}"]
    command = ["cc", *warnings, *includes, "-O2", "-fPIC", "-shared", "-o", library, source]
    subprocess.run([str(word) for word in command], check=True)
    functions = ctypes.CDLL(str(library))
    functions.bucket.argtypes, functions.bucket.restype = [ctypes.c_uint64], ctypes.c_uint64
    pointer = ctypes.POINTER(abi.Histogram)
    functions.count.argtypes, functions.count.restype = [pointer, ctypes.c_uint64], None
    return functions


def test_every_bound_is_in_the_bucket_under_it(compiled: ctypes.CDLL) -> None:
    assert [compiled.bucket(bound) for bound in BUCKET_BOUNDS] == list(range(BUCKETS - 1))
    assert [compiled.bucket(bound + 1) for bound in BUCKET_BOUNDS] == list(range(1, BUCKETS))
    assert [compiled.bucket(bound - 1) for bound in BUCKET_BOUNDS] == list(range(BUCKETS - 1))


def test_the_ends(compiled: ctypes.CDLL) -> None:
    assert [compiled.bucket(ns) for ns in (0, 1, 63, 64)] == [0] * 4
    beyond = [BUCKET_BOUNDS[-1] + 1, 1 << 40, 1 << 63, (1 << 64) - 1]
    assert [compiled.bucket(ns) for ns in beyond] == [BUCKETS - 1] * 4


def test_any_value(compiled: ctypes.CDLL) -> None:
    chance = random.Random(3)
    for _ in range(20_000):
        ns = chance.randrange(1 << chance.randrange(1, 65))
        assert compiled.bucket(ns) == bisect_left(BUCKET_BOUNDS, ns), ns


@pytest.mark.parametrize("bucket", [0, 1, 57, BUCKETS - 2, BUCKETS - 1])
def test_counting(compiled: ctypes.CDLL, bucket: int) -> None:
    histogram = abi.Histogram()
    ns = (*BUCKET_BOUNDS, 1 << 60)[bucket]
    compiled.count(histogram, ns)
    assert (histogram.low[bucket], sum(histogram.low), sum(histogram.high)) == (1, 1, 0)
    histogram.low[bucket] = 0xFFFFFFFF
    compiled.count(histogram, ns)
    assert (histogram.high[bucket], sum(histogram.low), sum(histogram.high)) == (1, 0, 1)


def test_from_64_ns_to_over_16_s_the_middle_of_a_bucket_is_within_an_eighth() -> None:
    assert BUCKET_BOUNDS[0] == 64
    assert BUCKET_BOUNDS[-1] > 16 * 10**9
    assert len(BUCKET_BOUNDS) == BUCKETS - 1
    for lower, upper in zip(BUCKET_BOUNDS, BUCKET_BOUNDS[1:]):
        middle = (lower + upper) / 2
        # Relative to the value, which is what an error is of; a bucket begins above its lower end.
        assert (middle - lower) / lower <= 0.125
        assert (upper - middle) / upper <= 0.125
