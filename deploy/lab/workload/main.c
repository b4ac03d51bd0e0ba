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

int conclude(const struct options *options, const struct vm *vms, int signals_fd)
{
	int checked = truth_check(vms, options->n_vms);
	int printed = report_print(stdout, vms, options->n_vms);

	if (options->hold)
		wait_for_end(signals_fd);
	return checked < 0 || printed < 0;
}

int main(int argc, char **argv)
{
	static struct options options;
	struct vm *vms;

	if (options_parse(&options, argc, argv) < 0)
		return EXIT_USAGE;
	if (options.help) {
		fputs(help_text, stdout);
		return 0;
	}
	fill_standard_descriptors();
	raise_descriptor_limit();
	vms = vms_alloc(&options);
	if (!vms)
		return 1;
	return options.fork ? run_forked(&options, vms) : run_local(&options, vms);
}
