// SPDX-License-Identifier: GPL-2.0-only
/* Runs one Linux guest from its first instruction to its report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "lablinux.h"

#define EXIT_USAGE 2

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* What went wrong, from the first vCPU that has something to say. */
static int explain(const struct linux_guest *guest)
{
	for (unsigned int i = 0; i < guest->vm.spec->vcpus; i++) {
		const struct vcpu *vcpu = &guest->vm.vcpus[i];

		if (vcpu->run_errno)
			return error("vcpu %u: KVM_RUN failed: %s", i, strerror(vcpu->run_errno));
		if (vcpu->unknown_exit && guest->stray)
			return error("vcpu %u: nothing answers at guest physical address 0x%lx", i,
				     guest->stray);
		if (vcpu->unknown_exit)
			return error("vcpu %u: KVM exit reason %u is not handled", i,
				     vcpu->unknown_exit);
		if (guest->exits[i].system_event)
			return error("the guest ended without a report; its console is above");
	}
	return error("a signal ended the guest before its report");
}

static int conclude_linux(struct linux_guest *guest, double seconds, int signals_fd)
{
	int printed;

	if (!*guest->report) {
		fflush(guest->console);
		explain(guest);
		return 1;
	}
	printed = linux_report_print(stdout, guest, seconds);
	if (guest->options->hold)
		wait_for_end(signals_fd);
	return printed < 0;
}

/* The seconds from the start barrier to the report. */
static double run_to_report(struct linux_guest *guest, struct group *group, int signals_fd)
{
	bool go_on = fd_readable_first(guest->ready_fd, signals_fd);
	double start;

	if (go_on && guest->options->start_barrier && !guest->vm.aborted)
		go_on = pass_barrier(signals_fd);
	if (!go_on)
		vm_abort(&guest->vm);
	start = now();
	event_raise(guest->go_fd);
	while (!fd_readable_first(group->idle_fd, signals_fd))
		vm_abort(&guest->vm);
	return now() - start;
}

static int run(struct linux_guest *guest, int signals_fd)
{
	struct group group;
	double seconds;
	int status;

	if (group_prepare(&group, &guest->vm, 1) < 0 || linux_finish(guest) < 0)
		return 1;
	group_start(&group);
	seconds = run_to_report(guest, &group, signals_fd);
	status = conclude_linux(guest, seconds, signals_fd);
	group_release(&group);
	return status;
}

int main(int argc, char **argv)
{
	static struct linux_options options;
	static struct linux_guest guest = {.options = &options};
	int signals_fd;

	if (linux_options_parse(&options, argc, argv) < 0)
		return EXIT_USAGE;
	if (options.help) {
		fputs(linux_help_text, stdout);
		return 0;
	}
	guest.console = stderr;
	guest.ready_fd = eventfd(0, EFD_CLOEXEC);
	guest.go_fd = eventfd(0, EFD_CLOEXEC);
	signals_fd = signals_open(true);
	if (guest.ready_fd < 0 || guest.go_fd < 0)
		error("eventfd failed: %s", strerror(errno));
	if (signals_fd < 0 || guest.ready_fd < 0 || guest.go_fd < 0 || linux_prepare(&guest) < 0)
		return 1;
	return run(&guest, signals_fd);
}
