// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lablinux.h"

static void print_vcpu(FILE *out, const struct linux_guest *guest, unsigned int index)
{
	const struct vcpu *vcpu = &guest->vm.vcpus[index];
	const struct exits *exits = &guest->exits[index];

	fprintf(out,
		"{\"vcpu\":%u,\"tid\":%d,\"exits\":{\"mmio\":%" PRIu64 ",\"interrupted\":%" PRIu64
		",\"system_event\":%" PRIu64 "},\"stolen_ns\":",
		index, vcpu->tid, exits->mmio, exits->interrupted, exits->system_event);
	if (guest->vm.spec->stolen == STOLEN_OFF || guest->vm.stolen_errno)
		fputs("null}", out);
	else
		fprintf(out, "%" PRIu64 "}", vcpu->guest->steal.stolen_ns);
}

/* What the guest says of itself is JSON already. */
int linux_report_print(FILE *out, const struct linux_guest *guest, double seconds)
{
	fprintf(out, "{\"pid\":%d,\"timer\":\"%s\",\"seconds\":%.6f,\"vcpus\":[", guest->vm.pid,
		guest->options->physical_timer ? "physical" : "virtual", seconds);
	for (unsigned int i = 0; i < guest->vm.spec->vcpus; i++) {
		fputs(i ? "," : "", out);
		print_vcpu(out, guest, i);
	}
	fprintf(out, "],\"guest\":%s}\n", guest->report);
	if (fflush(out) || ferror(out))
		return error("cannot write the report: %s", strerror(errno));
	return 0;
}
