// SPDX-License-Identifier: GPL-2.0-only
/* All VMs in this process. */
#include "labvmm.h"

int run_local(struct run *run)
{
	const struct options *options = run->options;
	struct group group;
	int status = 0;

	if (group_prepare(&group, run->vms, run->n_vms) < 0)
		return 1;
	if (options->start_barrier && !pass_barrier(run->signals_fd))
		group_signal(&group);
	group_start(&group);
	group_wait(&group, run->signals_fd);
	if (options->save && state_save(&run->vms[0], options->save) < 0)
		status = 1;
	if (run->conclude(run))
		status = 1;
	group_release(&group);
	return status;
}
