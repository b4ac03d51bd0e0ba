// SPDX-License-Identifier: GPL-2.0-only
/* Operations added up, over a vCPU's slots or over many vCPUs, and as JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "labvmm.h"

/* One line of the report: a kind of operation, and for a range of ids the range. */
struct total {
	uint32_t kind;
	uint32_t id;
	uint64_t stride;
	uint64_t ids;
	uint64_t count;
	uint64_t expected;
	bool answered;
	int64_t answer;
};

/* The calls that turn a vCPU or the VM off do not come back. */
static bool comes_back(unsigned int slot)
{
	return slot != SLOT_CPU_OFF && slot != SLOT_SYSTEM_OFF;
}

static bool same_thing(const struct total *a, const struct total *b)
{
	return a->kind == b->kind && a->id == b->id && a->stride == b->stride && a->ids == b->ids;
}

static void add(struct totals *totals, const struct total *one)
{
	struct total *total = totals->list;

	while (total < totals->list + totals->n && !same_thing(total, one))
		total++;
	if (total == totals->list + totals->n) {
		totals->list = append(totals->list, totals->n, sizeof(*one));
		totals->list[totals->n++] = *one;
		return;
	}
	total->count += one->count;
	total->expected += one->expected;
	if (one->answered) {
		total->answered = true;
		total->answer = one->answer + (op_is_tick(one->kind) ? total->answer : 0);
	}
}

static void add_slot(struct totals *totals, const struct vcpu *vcpu, unsigned int slot)
{
	const struct guest_op *op = &vcpu->guest->ops[slot];
	struct total one = {
		.kind = op->kind,
		.id = op->id,
		.stride = op->kind == KIND_SPRAY ? op->x3 : 0,
		.ids = op->kind == KIND_SPRAY ? op->per_round : 0,
		.count = op->count,
		.expected = expected_count(vcpu, slot),
		.answered = op->count && comes_back(slot),
		.answer = op->answer,
	};

	if (!(one.count | one.expected) && !op_is_register(op->kind))
		return;
	add(totals, &one);
	if (op->kind == KIND_DIRTY) {
		one.kind = KIND_HVC; /* to the host it is that function like any other */
		add(totals, &one);
	}
}

void totals_add_vcpu(struct totals *totals, const struct vcpu *vcpu)
{
	for (unsigned int slot = 0; slot < vcpu_slots(vcpu); slot++)
		if (slot != SLOT_EMPTY)
			add_slot(totals, vcpu, slot);
}

void totals_free(struct totals *totals)
{
	free(totals->list);
	*totals = (struct totals){0};
}

static void print_count(FILE *out, const struct total *total, bool expected)
{
	if (expected) {
		fprintf(out, "%" PRIu64, total->expected);
		return;
	}
	fprintf(out, "{\"count\":%" PRIu64 ",\"answer\":", total->count);
	if (total->answered)
		fprintf(out, "%" PRId64 "}", total->answer);
	else
		fputs("null}", out);
}

static void print_by_id(FILE *out, const struct totals *totals, uint32_t kind, bool expected)
{
	bool first = true;

	for (size_t i = 0; i < totals->n; i++) {
		const struct total *total = &totals->list[i];

		if (total->kind != kind)
			continue;
		separate(out, &first);
		fprintf(out, "\"0x%08x\":", total->id);
		print_count(out, total, expected);
	}
}

static void print_sprays(FILE *out, const struct totals *totals, bool expected)
{
	bool first = true;

	for (size_t i = 0; i < totals->n; i++) {
		const struct total *total = &totals->list[i];

		if (total->kind != KIND_SPRAY)
			continue;
		separate(out, &first);
		fprintf(out,
			"{\"first\":\"0x%08x\",\"stride\":%" PRIu64 ",\"ids\":%" PRIu64
			",\"calls\":",
			total->id, total->stride, total->ids);
		print_count(out, total, expected);
		fputc('}', out);
	}
}

static void print_ticks(FILE *out, const struct totals *totals, bool expected)
{
	bool first = true;

	for (size_t i = 0; i < totals->n; i++) {
		const struct total *total = &totals->list[i];

		if (!op_is_tick(total->kind))
			continue;
		separate(out, &first);
		fprintf(out, "\"%s\":", op_timer(total->kind));
		if (expected)
			fprintf(out, "%" PRIu64, total->expected);
		else
			fprintf(out, "{\"count\":%" PRIu64 ",\"late_ticks\":%" PRId64 "}",
				total->count, total->answer);
	}
}

/* A tick is set by a write of CVAL and one of CTL, and turned off by one more of CTL. */
static unsigned int tick_writes(uint32_t kind, const char *reg)
{
	bool physical = !strncmp(reg, "cntp_", 5);

	if (!op_is_tick(kind) || physical != (kind == KIND_TICK_PHYSICAL))
		return 0;
	if (!strcmp(reg + 5, "ctl_el0"))
		return 2;
	return !strcmp(reg + 5, "cval_el0");
}

static unsigned int accesses_each(const struct total *total, const char *reg, bool write)
{
	if (op_is_register(total->kind))
		return op_is_write(total->kind) == write && !strcmp(op_register(total->kind), reg);
	return write ? tick_writes(total->kind, reg) : 0;
}

/* The sum over one register's accesses of one direction; `asked` if there were to be any. */
static uint64_t accesses(const struct totals *totals, const char *reg, bool write, bool expected,
			 bool *asked)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < totals->n; i++) {
		const struct total *total = &totals->list[i];
		unsigned int each = accesses_each(total, reg, write);

		sum += each * (expected ? total->expected : total->count);
		*asked = *asked || (each && total->expected);
	}
	return sum;
}

static void print_registers(FILE *out, const struct totals *totals, bool expected)
{
#define NAME(reg) #reg,
	static const char *const registers[] = {READ_REGISTERS(NAME)};
	bool first = true;

	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		bool asked = false;
		uint64_t reads = accesses(totals, registers[i], false, expected, &asked);
		uint64_t writes = accesses(totals, registers[i], true, expected, &asked);

		if (!asked)
			continue;
		separate(out, &first);
		fprintf(out, "\"%s\":{\"read\":%" PRIu64 ",\"write\":%" PRIu64 "}", registers[i],
			reads, writes);
	}
}

static void print_all(FILE *out, const struct totals *totals, bool expected)
{
	fputs("\"hypercalls\":{", out);
	print_by_id(out, totals, KIND_HVC, expected);
	fputs("},\"dirty\":{", out);
	print_by_id(out, totals, KIND_DIRTY, expected);
	fputs("},\"sprays\":[", out);
	print_sprays(out, totals, expected);
	fputs("],\"timer\":{", out);
	print_registers(out, totals, expected);
	fputs("},\"ticks\":{", out);
	print_ticks(out, totals, expected);
	fputc('}', out);
}

void totals_print(FILE *out, const struct totals *totals)
{
	print_all(out, totals, false);
	fputs(",\"expected\":{", out);
	print_all(out, totals, true);
	fputc('}', out);
}
