// SPDX-License-Identifier: GPL-2.0-only
/* What each operation cost a vCPU by its own counter, in the JSON. */
#include <inttypes.h>

#include "labvmm.h"

/* The first value of a bucket, as the guest fills them. */
static uint64_t bucket_start(unsigned int index)
{
	unsigned int doublings = index >> TIMING_SUB_BITS;

	if (doublings <= 1)
		return index;
	return (uint64_t)(index - ((doublings - 1) << TIMING_SUB_BITS)) << (doublings - 1);
}

static double within(double value, double least, double most)
{
	if (value < least)
		return least;
	return value > most ? most : value;
}

/* The middle of the bucket that holds the value at this rank, from 0. */
static double value_at(const struct guest_timing *timing, uint64_t rank)
{
	uint64_t seen = 0;

	for (unsigned int i = 0; i < TIMING_N; i++) {
		seen += timing->buckets[i];
		if (seen > rank)
			return within((bucket_start(i) + bucket_start(i + 1) - 1) / 2.0,
				      timing->min, timing->max);
	}
	return timing->max;
}

static double quantile(const struct guest_timing *timing, unsigned int percent)
{
	return value_at(timing, (timing->count - 1) * percent / 100);
}

static void print_buckets(FILE *out, const struct guest_timing *timing)
{
	bool first = true;

	for (unsigned int i = 0; i < TIMING_N; i++) {
		if (!timing->buckets[i])
			continue;
		separate(out, &first);
		fprintf(out, "[%" PRIu64 ",%" PRIu64 ",%u]", bucket_start(i), bucket_start(i + 1),
			timing->buckets[i]);
	}
}

static void print_timing(FILE *out, const struct guest_timing *timing)
{
	fprintf(out, "\"count\":%" PRIu64 ",\"sum\":%" PRIu64, timing->count, timing->sum);
	if (timing->count)
		fprintf(out,
			",\"min\":%" PRIu64 ",\"max\":%" PRIu64
			",\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f",
			timing->min, timing->max, quantile(timing, 50), quantile(timing, 90),
			quantile(timing, 99));
	fputs(",\"buckets\":[", out);
	print_buckets(out, timing);
	fputc(']', out);
}

static void print_slot(FILE *out, const struct vcpu *vcpu, unsigned int slot)
{
	const struct guest_op *op = &vcpu->guest->ops[slot];
	char text[64];

	fprintf(out, "{\"op\":\"%s\",\"arg\":", op_label(op, text, sizeof(text)));
	if (op->kind == KIND_HVC)
		fprintf(out, "\"0x%" PRIx64 "\",", op->x1);
	else
		fputs("null,", out);
	print_timing(out, &vcpu->timings[slot]);
	fputc('}', out);
}

void timings_print(FILE *out, const struct vcpu *vcpu)
{
	bool first = true;

	fputs(",\"timings\":", out);
	if (!vcpu->timings) {
		fputs("null", out);
		return;
	}
	fprintf(out, "{\"counter_freq\":%" PRIu64 ",\"empty\":{", vcpu->guest->frequency);
	print_timing(out, &vcpu->timings[SLOT_EMPTY]);
	fputs("},\"ops\":[", out);
	for (unsigned int slot = 0; slot < vcpu_slots(vcpu); slot++) {
		if (slot == SLOT_EMPTY || !vcpu->timings[slot].count)
			continue;
		separate(out, &first);
		print_slot(out, vcpu, slot);
	}
	fputs("]}", out);
}
