/* SPDX-License-Identifier: GPL-2.0-only */
/* Counting into log-linear buckets; what they hold is said at struct lpt_histogram. */
#ifndef LPTTRACE_HISTOGRAM_H
#define LPTTRACE_HISTOGRAM_H

#include "compat.h"

/*
 * The value's octave less 2, that is how far its two bits below the highest are to be shifted: a
 * tree of compares, about 5 deep, which is the cheapest that BPF of 6.1 can do.
 */
#define OCTAVE_1(o) (value < 1ULL << ((o) + 1) ? (o)-2 : (o)-1)
#define OCTAVE_2(o) (value < 1ULL << ((o) + 2) ? OCTAVE_1(o) : OCTAVE_1((o) + 2))
#define OCTAVE_3(o) (value < 1ULL << ((o) + 4) ? OCTAVE_2(o) : OCTAVE_2((o) + 4))
#define OCTAVE_4(o) (value < 1ULL << ((o) + 8) ? OCTAVE_3(o) : OCTAVE_3((o) + 8))

static __always_inline u64 bucket_of(u64 ns)
{
	/* Bounds belong to the bucket under them. */
	u64 value = ns - 1, shift;

	if (ns <= 1 << LPT_FIRST_SHIFT)
		return 0;
	if (value < 1 << 22)
		shift = OCTAVE_4(LPT_FIRST_SHIFT);
	else if (value < 1ULL << (LPT_FIRST_SHIFT + LPT_OCTAVES))
		shift = OCTAVE_4(22);
	else
		return LPT_BUCKETS - 1;
	return (value >> shift & (LPT_SUB_BUCKETS - 1)) + LPT_SUB_BUCKETS * shift + 1 -
	       LPT_SUB_BUCKETS * (LPT_FIRST_SHIFT - 2);
}

static __always_inline void count_in(struct lpt_histogram *histogram, u64 ns)
{
	u64 bucket = bucket_of(ns), count;

	AS_INDEX(bucket);
	if (bucket >= LPT_BUCKETS)
		return;
	count = histogram->low[bucket] + 1ULL;
	histogram->low[bucket] = count;
	if (count >> 32)
		histogram->high[bucket]++;
}

#endif
