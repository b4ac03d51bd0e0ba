// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each VM in a process of its own. Parent and child step together by single bytes over a socket;
 * counts and results need none, they are in shared memory.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "labvmm.h"

struct child {
	pid_t pid;
	int fd; /* -1 once it has ended too early */
};

struct children {
	struct child *list;
	unsigned int n;
	int signals_fd;
};

static bool tell(int fd)
{
	ssize_t n;

	do
		n = send(fd, "", 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static bool hear(int fd)
{
	ssize_t n;
	char byte;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* SIGINT of a terminal reaches the children too; they leave it to the parent. */
static int child_main(struct vm *vm, int fd)
{
	struct group group;
	int signals_fd = signals_open(false);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (signals_fd < 0 || group_prepare(&group, vm, 1) < 0)
		return 1;
	if (!tell(fd) || !hear(fd))
		return 1;
	if (signal_taken(signals_fd))
		group_signal(&group);
	group_start(&group);
	group_wait(&group, signals_fd);
	if (!tell(fd) || !hear(fd))
		return 1;
	group_release(&group);
	return 0;
}

static int spawn(struct child *child, struct vm *vm)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return vm_error(vm, "socketpair failed: %s", strerror(errno));
	child->pid = fork();
	if (child->pid < 0)
		return vm_error(vm, "fork failed: %s", strerror(errno));
	if (child->pid == 0) {
		close(fds[0]);
		_exit(child_main(vm, fds[1]));
	}
	close(fds[1]);
	child->fd = fds[0];
	return 0;
}

static void kill_all(const struct children *children, int signal)
{
	for (unsigned int i = 0; i < children->n; i++)
		kill(children->list[i].pid, signal);
}

/* A signal is passed on, each child stops its VM. */
static bool hear_child(const struct children *children, int fd)
{
	while (!fd_readable_first(fd, children->signals_fd))
		kill_all(children, SIGTERM);
	return hear(fd);
}

/* One child's end does not stop the others. */
static int await_all(struct children *children, const char *what)
{
	int ret = 0;

	for (unsigned int i = 0; i < children->n; i++) {
		struct child *child = &children->list[i];

		if (child->fd < 0 || hear_child(children, child->fd))
			continue;
		close(child->fd);
		child->fd = -1;
		ret = error("vm %u: its process %d ended before %s", i, child->pid, what);
	}
	return ret;
}

static void tell_all(const struct children *children)
{
	for (unsigned int i = 0; i < children->n; i++)
		if (children->list[i].fd >= 0)
			tell(children->list[i].fd);
}

static int spawn_all(struct children *children, struct vm *vms, unsigned int n_vms)
{
	children->list = calloc(n_vms, sizeof(*children->list));
	if (!children->list)
		return error("out of memory for %u processes", n_vms);
	for (; children->n < n_vms; children->n++)
		if (spawn(&children->list[children->n], &vms[children->n]) < 0)
			return -1;
	return await_all(children, "its VM was ready");
}

static int run_all(const struct options *options, struct children *children)
{
	if (options->start_barrier && !pass_barrier(children->signals_fd))
		kill_all(children, SIGTERM);
	tell_all(children);
	return await_all(children, "its VM had done its work");
}

static void reap(struct children *children)
{
	for (unsigned int i = 0; i < children->n; i++) {
		while (waitpid(children->list[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
		if (children->list[i].fd >= 0)
			close(children->list[i].fd);
	}
	free(children->list);
}

static int give_up(struct children *children)
{
	kill_all(children, SIGKILL);
	reap(children);
	return 1;
}

int run_forked(struct run *run)
{
	struct children children = {.signals_fd = run->signals_fd};
	int status;

	if (spawn_all(&children, run->vms, run->n_vms) < 0)
		return give_up(&children);
	status = run_all(run->options, &children) < 0;
	if (run->conclude(run))
		status = 1;
	tell_all(&children);
	reap(&children);
	return status;
}
