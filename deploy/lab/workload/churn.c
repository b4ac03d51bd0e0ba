// SPDX-License-Identifier: GPL-2.0-only
/* Many VMs, made and gone again a few at a time, and their counts added up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "labvmm.h"

struct churn {
	struct totals totals;
	uint64_t vms;
	uint64_t vcpus;
	int64_t began_ns;
	bool failed;
};

static int add_wave(struct run *run)
{
	struct churn *churn = run->context;

	if (truth_check(run->vms, run->n_vms) < 0)
		churn->failed = true;
	for (unsigned int i = 0; i < run->n_vms; i++) {
		const struct vm *vm = &run->vms[i];

		churn->vms++;
		churn->vcpus += vm->spec->vcpus;
		for (unsigned int j = 0; j < vm->spec->vcpus; j++)
			totals_add_vcpu(&churn->totals, &vm->vcpus[j]);
	}
	return 0;
}

/* Each VM's guest memory is shared with its process, and so tells of a signal taken there. */
static bool was_stopped(const struct run *run)
{
	for (unsigned int i = 0; i < run->n_vms; i++)
		if (run->vms[i].guest->stop)
			return true;
	return false;
}

/* Makes VMs until all were there, or until one wave failed or was stopped by a signal. */
static int churn_all(struct run *run, struct options *options)
{
	int (*run_wave)(struct run * run) = options->fork ? run_forked : run_local;
	struct churn *churn = run->context;

	while (churn->vms < options->churn) {
		uint64_t left = options->churn - churn->vms;

		run->n_vms = left < options->n_vms ? left : options->n_vms;
		for (unsigned int i = 0; churn->vms && i < run->n_vms; i++)
			vm_refill(&run->vms[i]);
		if (run_wave(run) || churn->failed)
			return error("stopped after %lu of %lu VMs", churn->vms, options->churn);
		if (was_stopped(run) && churn->vms < options->churn)
			return error("a signal came after %lu of %lu VMs", churn->vms,
				     options->churn);
		options->start_barrier = false;
	}
	return 0;
}

static int print(const struct churn *churn, const struct options *options)
{
	printf("{\"churn\":{\"asked\":%lu,\"vms\":%lu,\"vcpus\":%lu,\"at_once\":%u,"
	       "\"seconds\":%.3f,\n ",
	       options->churn, churn->vms, churn->vcpus, options->n_vms,
	       (raw_ns() - churn->began_ns) / 1e9);
	totals_print(stdout, &churn->totals);
	puts("}}");
	if (fflush(stdout) || ferror(stdout))
		return error("cannot write the report: %s", strerror(errno));
	return 0;
}

int run_churn(struct run *run)
{
	struct options options = *run->options;
	struct churn churn = {.began_ns = raw_ns()};
	int churned, printed;

	run->options = &options;
	run->conclude = add_wave;
	run->context = &churn;
	churned = churn_all(run, &options);
	printed = print(&churn, &options);
	totals_free(&churn.totals);
	return churned < 0 || printed < 0;
}
