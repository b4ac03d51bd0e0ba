// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU's operations in the JSON, as counted or as expected. */
#include <inttypes.h>
#include <string.h>

#include "labvmm.h"

/* Slots with the same id, or the same register and direction, are one line of the report. */
struct total {
	uint64_t count;
	uint64_t expected;
	const struct guest_op *last; /* the last one that was answered, or NULL */
};

/* The calls that turn a vCPU or the VM off do not come back. */
static bool comes_back(unsigned int slot)
{
	return slot != SLOT_CPU_OFF && slot != SLOT_SYSTEM_OFF;
}

static bool same_thing(const struct guest_op *a, const struct guest_op *b)
{
	return a->kind == b->kind && a->id == b->id;
}

static struct total total_of(const struct vcpu *vcpu, const struct guest_op *wanted)
{
	struct total total = {0};

	for (unsigned int slot = 0; slot < vcpu_slots(vcpu); slot++) {
		const struct guest_op *op = &vcpu->guest->ops[slot];

		if (!same_thing(op, wanted))
			continue;
		total.count += op->count;
		total.expected += expected_count(vcpu, slot);
		if (op->count && comes_back(slot))
			total.last = op;
	}
	return total;
}

static bool is_first(const struct vcpu *vcpu, const struct guest_op *wanted)
{
	const struct guest_op *op = vcpu->guest->ops;

	while (!same_thing(op, wanted))
		op++;
	return op == wanted;
}

void print_hypercalls(FILE *out, const struct vcpu *vcpu, bool expected)
{
	bool first = true;

	fputs("\"hypercalls\":{", out);
	for (unsigned int slot = 0; slot < vcpu_slots(vcpu); slot++) {
		const struct guest_op *op = &vcpu->guest->ops[slot];
		struct total total = total_of(vcpu, op);

		if (!op_is_hvc(op->kind) || !is_first(vcpu, op) || !(total.count | total.expected))
			continue;
		separate(out, &first);
		fprintf(out, "\"0x%08x\":", op->id);
		if (expected) {
			fprintf(out, "%" PRIu64, total.expected);
			continue;
		}
		fprintf(out, "{\"count\":%" PRIu64 ",\"answer\":", total.count);
		print_answer(out, total.last);
		fputc('}', out);
	}
	fputc('}', out);
}

static uint64_t timer_total(const struct vcpu *vcpu, const char *reg, bool write, bool expected)
{
	uint64_t sum = 0;

	for (unsigned int slot = SLOT_FIRST; slot < vcpu_slots(vcpu); slot++) {
		const struct guest_op *op = &vcpu->guest->ops[slot];

		if (!op_is_hvc(op->kind) && op_is_write(op->kind) == write &&
		    !strcmp(op_register(op->kind), reg))
			sum += expected ? expected_count(vcpu, slot) : op->count;
	}
	return sum;
}

void print_timer(FILE *out, const struct vcpu *vcpu, bool expected)
{
#define NAME(reg) #reg,
	static const char *const registers[] = {READ_REGISTERS(NAME)};
	bool first = true;

	fputs("\"timer\":{", out);
	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		const char *reg = registers[i];

		if (!(timer_total(vcpu, reg, false, true) | timer_total(vcpu, reg, true, true)))
			continue;
		separate(out, &first);
		fprintf(out, "\"%s\":{\"read\":%" PRIu64 ",\"write\":%" PRIu64 "}", reg,
			timer_total(vcpu, reg, false, expected),
			timer_total(vcpu, reg, true, expected));
	}
	fputc('}', out);
}
