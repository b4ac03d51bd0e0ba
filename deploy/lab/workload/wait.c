// SPDX-License-Identifier: GPL-2.0-only
/* Signals as a file descriptor, and waiting for them together with something else. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "labvmm.h"

/* To be called before any thread exists: they inherit what is blocked. */
int signals_open(bool with_sigint)
{
	sigset_t blocked, wanted;
	int fd;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	blocked = wanted;
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	fd = signalfd(-1, with_sigint ? &blocked : &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return error("signalfd failed: %s", strerror(errno));
	return fd;
}

bool signal_taken(int signals_fd)
{
	struct signalfd_siginfo info;

	return read(signals_fd, &info, sizeof(info)) == sizeof(info);
}

/* Waits until fd can be read (true) or a signal was taken (false). */
bool fd_readable_first(int fd, int signals_fd)
{
	struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = signals_fd, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && signal_taken(signals_fd))
			return false;
		if (fds[0].revents)
			return true;
	}
}

/* One byte of stdin; false at its end. */
static bool stdin_byte(char *byte)
{
	ssize_t n;

	do
		n = read(STDIN_FILENO, byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Until a line or the end of stdin (true), or a signal (false). */
bool pass_barrier(int signals_fd)
{
	char byte = 0;

	fputs("ready\n", stderr);
	while (byte != '\n') {
		if (!fd_readable_first(STDIN_FILENO, signals_fd))
			return false;
		if (!stdin_byte(&byte))
			break;
	}
	return true;
}

void wait_for_end(int signals_fd)
{
	char byte;

	while (fd_readable_first(STDIN_FILENO, signals_fd) && stdin_byte(&byte))
		;
}
