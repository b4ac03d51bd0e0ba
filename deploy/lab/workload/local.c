// SPDX-License-Identifier: GPL-2.0-only
/* All VMs in this process. */
#include "labvmm.h"

int run_local(const struct options *options, struct vm *vms)
{
	struct group group;
	int signals_fd = signals_open(true);
	int status;

	if (signals_fd < 0 || group_prepare(&group, vms, options->n_vms) < 0)
		return 1;
	if (options->start_barrier && !pass_barrier(signals_fd))
		group_signal(&group);
	group_start(&group);
	group_wait(&group, signals_fd);
	status = conclude(options, vms, signals_fd);
	group_release(&group);
	return status;
}
