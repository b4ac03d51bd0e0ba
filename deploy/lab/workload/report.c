// SPDX-License-Identifier: GPL-2.0-only
/* The ground truth as one JSON document. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "labvmm.h"

static const char *const lpt_modes[] = {"off", "on", "try", "ipa-only", "freq-only", "twice"};
static const char *const stolen_modes[] = {"off", "on", "try"};

static void print_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

/* The comma before every item but the first. */
void separate(FILE *out, bool *first)
{
	if (!*first)
		fputc(',', out);
	*first = false;
}

/* SMCCC answers are signed: -1 is NOT_SUPPORTED. */
static void print_answer(FILE *out, const struct guest_op *op)
{
	if (op && op->count)
		fprintf(out, "%" PRId64, (int64_t)op->answer);
	else
		fputs("null", out);
}

static void print_ipa(FILE *out, const struct guest_op *op)
{
	if (op->count && op->answer != UINT64_MAX)
		fprintf(out, "\"0x%" PRIx64 "\"", op->answer);
	else
		fputs("null", out);
}

void print_structure(FILE *out, const struct lpt_structure *lpt)
{
	fprintf(out,
		"{\"revision\":%u,\"attributes\":%u,\"sequence_number\":%" PRIu64
		",\"native_freq\":%u,\"pv_freq\":%u,\"scale_mult\":%" PRIu64
		",\"rscale_mult\":%" PRIu64 ",\"fracbits\":%u,\"rfracbits\":%u}",
		lpt->revision, lpt->attributes, lpt->sequence_number, lpt->native_freq,
		lpt->pv_freq, lpt->scale_mult, lpt->rscale_mult, lpt->fracbits, lpt->rfracbits);
}

static void print_seen(FILE *out, const struct vm *vm)
{
	const struct lpt_structure *seen = &vm->vcpus[0].guest->clock.copy;
	const struct guest_vm *guest = vm->guest;
	bool first = true;

	fputs(",\"structure\":", out);
	if (guest->lpt_ipa)
		print_structure(out, seen);
	else
		fputs("null", out);
	fputs(",\"counters\":[", out);
	for (int i = 0; i < 2; i++) {
		if (!guest->counters[i].native)
			continue;
		separate(out, &first);
		fprintf(out, "{\"native\":%" PRIu64 ",\"pv\":%" PRIu64 "}",
			guest->counters[i].native, guest->counters[i].pv);
	}
	fputc(']', out);
}

static void print_lpt(FILE *out, const struct vm *vm)
{
	const struct guest_op *ops = vm->vcpus[0].guest->ops;

	fputs(",\"lpt\":", out);
	if (vm->spec->lpt == LPT_OFF) {
		fputs("null", out);
		return;
	}
	fprintf(out,
		"{\"mode\":\"%s\",\"attr_group\":%u,\"attr_errno\":%d,\"pv_freq\":%u,\"features\":",
		lpt_modes[vm->spec->lpt], vm->lpt_group, vm->lpt_errno, vm->spec->pv_freq);
	print_answer(out, &ops[SLOT_LPT_FEATURES]);
	fputs(",\"ipa\":", out);
	print_ipa(out, &ops[SLOT_LPT]);
	print_seen(out, vm);
	fputc('}', out);
}

static void print_stolen(FILE *out, const struct vm *vm)
{
	fputs(",\"stolen\":", out);
	if (vm->spec->stolen == STOLEN_OFF) {
		fputs("null", out);
		return;
	}
	fprintf(out, "{\"mode\":\"%s\",\"attr_errno\":%d,\"vcpus\":[",
		stolen_modes[vm->spec->stolen], vm->stolen_errno);
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		const struct guest_vcpu *guest = vm->vcpus[i].guest;

		fprintf(out, "%s{\"features\":", i ? "," : "");
		print_answer(out, &guest->ops[SLOT_ST_FEATURES]);
		fputs(",\"ipa\":", out);
		print_ipa(out, &guest->ops[SLOT_ST]);
		fprintf(out, ",\"stolen_ns\":%" PRIu64 "}", guest->steal.stolen_ns);
	}
	fputs("]}", out);
}

static void print_vcpu(FILE *out, const struct vcpu *vcpu)
{
	struct totals totals = {0};

	totals_add_vcpu(&totals, vcpu);
	fprintf(out, "{\"vcpu\":%u,\"tid\":%d,\"run_errno\":%d,\"fault\":", vcpu->index, vcpu->tid,
		vcpu->run_errno);
	if (vcpu->faulted)
		fprintf(out,
			"{\"esr\":\"0x%" PRIx64 "\",\"elr\":\"0x%" PRIx64 "\",\"far\":\"0x%" PRIx64
			"\"}",
			vcpu->esr, vcpu->elr, vcpu->far);
	else
		fputs("null", out);
	fprintf(out, ",\"rounds\":%" PRIu64 ",\"mmio_exits\":%" PRIu64 ",",
		vcpu->guest->rounds - vcpu->rounds_before, vcpu->guest->mmio_exits);
	totals_print(out, &totals);
	totals_free(&totals);
	clock_print(out, vcpu);
	timings_print(out, vcpu);
	fputc('}', out);
}

static void print_vm(FILE *out, const struct vm *vm)
{
	fprintf(out, "{\"index\":%u,\"name\":", vm->index);
	print_string(out, vm->spec->name);
	fprintf(out, ",\"pid\":%d", vm->pid);
	print_lpt(out, vm);
	print_stolen(out, vm);
	fputs(",\"vcpus\":[", out);
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		fputs(i ? ",\n  " : "\n  ", out);
		print_vcpu(out, &vm->vcpus[i]);
	}
	fputs("]}", out);
}

int report_print(FILE *out, const struct vm *vms, unsigned int n_vms)
{
	fputs("{\"vms\":[", out);
	for (unsigned int i = 0; i < n_vms; i++) {
		fputs(i ? ",\n " : "\n ", out);
		print_vm(out, &vms[i]);
	}
	fputs("\n]}\n", out);
	if (fflush(out) || ferror(out))
		return error("cannot write the report: %s", strerror(errno));
	return 0;
}
