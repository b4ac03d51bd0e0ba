// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "labvmm.h"

#define EXIT_USAGE 2

/* A VM takes a descriptor for itself and one for each vCPU: the usual 1,024 are soon used up. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Else a descriptor of ours could become standard input, and be waited for. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int conclude(struct run *run)
{
	int checked = truth_check(run->vms, run->n_vms);
	int printed = report_print(stdout, run->vms, run->n_vms);

	if (run->options->hold)
		wait_for_end(run->signals_fd);
	return checked < 0 || printed < 0;
}

/* What is to be restored, and by it what VM there is. */
static struct state *load(struct options *options)
{
	struct state *state = state_load(options->restore);

	if (!state)
		return NULL;
	options->vms = append(options->vms, 0, sizeof(*options->vms));
	options->n_vms = 1;
	state_spec(state, options->vms);
	return state;
}

static int run_all(struct options *options, struct vm *vms)
{
	struct run run = {.options = options,
			  .vms = vms,
			  .n_vms = options->n_vms,
			  .signals_fd = signals_open(true),
			  .conclude = conclude};

	if (run.signals_fd < 0)
		return 1;
	if (options->churn)
		return run_churn(&run);
	return options->fork ? run_forked(&run) : run_local(&run);
}

int main(int argc, char **argv)
{
	static struct options options;
	struct state *state = NULL;
	struct vm *vms;

	if (options_parse(&options, argc, argv) < 0)
		return EXIT_USAGE;
	if (options.help) {
		fputs(help_text, stdout);
		return 0;
	}
	fill_standard_descriptors();
	raise_descriptor_limit();
	if (options.restore && !(state = load(&options)))
		return 1;
	vms = vms_alloc(&options, state);
	return vms ? run_all(&options, vms) : 1;
}
