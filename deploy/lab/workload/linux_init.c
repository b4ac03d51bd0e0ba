// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of the Linux guest: /init SLEEPS MICROSECONDS idle|busy
 * SLEEPERS. It sleeps, on CPU 0, and says how late it woke and how many timer
 * interrupts that took. If there are to be more SLEEPERS, each of the next CPUs
 * has another one; no two of them keep step.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "linux_words.h"

#define MAX_CPUS    4
#define NS	    1000000000LL
#define STEAL_FIELD 8 /* of /proc/stat's cpu lines, counted from 1 */

/* A moment's counts, as Linux has them. */
struct counts {
	uint64_t interrupts[MAX_CPUS];
	unsigned int n_cpus;
	unsigned int intid;
	uint64_t steal_ticks;
};

/* The machine ends with its first process, and so does the VMM. */
static void fail(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
	exit(1);
}

static FILE *open_or_fail(const char *path)
{
	FILE *file = fopen(path, "r");

	if (!file)
		fail(path);
	return file;
}

/* " 3:  12  34  GICv3  30 Level  arch_timer" */
static void parse_interrupts(char *line, struct counts *counts)
{
	char *rest = strchr(line, ':') + 1, *end;

	counts->n_cpus = 0;
	for (;; rest = end) {
		uint64_t value = strtoull(rest, &end, 10);

		if (end == rest || counts->n_cpus == MAX_CPUS)
			break;
		counts->interrupts[counts->n_cpus++] = value;
	}
	sscanf(rest, " %*s %u", &counts->intid);
}

static void read_interrupts(struct counts *counts)
{
	FILE *file = open_or_fail("/proc/interrupts");
	char line[256];

	while (fgets(line, sizeof(line), file))
		if (strstr(line, "arch_timer") && strchr(line, ':'))
			parse_interrupts(line, counts);
	fclose(file);
}

static void read_steal(struct counts *counts)
{
	FILE *file = open_or_fail("/proc/stat");
	char line[256];
	char *word, *rest = line;

	if (!fgets(line, sizeof(line), file))
		fail("/proc/stat");
	fclose(file);
	for (int i = 0; (word = strsep(&rest, " \n"));) {
		i += *word != '\0';
		if (i == STEAL_FIELD + 1) {
			counts->steal_ticks = strtoull(word, NULL, 10);
			return;
		}
	}
}

static struct counts count(void)
{
	struct counts counts = {0};

	read_steal(&counts);
	read_interrupts(&counts);
	return counts;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

/* How late it woke, in nanoseconds. */
static int64_t sleep_once(int64_t ns)
{
	int64_t deadline = now() + ns;
	struct timespec until = {.tv_sec = deadline / NS, .tv_nsec = deadline % NS};

	if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
		fail("clock_nanosleep");
	return now() - deadline;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank. `late` is sorted. */
static int64_t percentile(const int64_t *late, unsigned long n, unsigned int percent)
{
	return late[(n * percent + 99) / 100 - 1];
}

static void print_late(int64_t *late, unsigned long n)
{
	int64_t sum = 0;

	qsort(late, n, sizeof(*late), compare);
	for (unsigned long i = 0; i < n; i++)
		sum += late[i];
	printf("\"late_ns\":{\"count\":%lu,\"mean\":%" PRId64 ",\"p50\":%" PRId64
	       ",\"p90\":%" PRId64 ",\"p99\":%" PRId64 ",\"max\":%" PRId64 "}",
	       n, sum / (int64_t)n, percentile(late, n, 50), percentile(late, n, 90),
	       percentile(late, n, 99), late[n - 1]);
}

static void print_counts(const struct counts *before, const struct counts *after)
{
	printf(",\"intid\":%u,\"timer_interrupts\":[", after->intid);
	for (unsigned int i = 0; i < after->n_cpus; i++)
		printf("%s%" PRIu64, i ? "," : "", after->interrupts[i] - before->interrupts[i]);
	printf("],\"steal_ticks\":%" PRIu64, after->steal_ticks - before->steal_ticks);
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

static bool is_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	return !pid;
}

/* It takes the CPU whenever the sleeper does not want it. */
static void start_load(void)
{
	struct sched_param param = {0};

	if (!is_child())
		return;
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		fail("sched_setscheduler");
	for (;;)
		__asm__ volatile("");
}

/* Three quarters to five quarters of it, at random. */
static int64_t about(int64_t ns)
{
	return ns - ns / 4 + random() % (ns / 2);
}

static void start_sleeper(unsigned int cpu, int64_t ns)
{
	if (!is_child())
		return;
	pin(cpu);
	/* Not 1: that is what CPU 0 begins with, which then sleeps in step with this one. */
	srandom(cpu + 1);
	for (;;)
		sleep_once(about(ns));
}

static void measure(unsigned long n, int64_t ns, bool busy, bool alone)
{
	int64_t *late = calloc(n, sizeof(*late));
	struct counts before = count(), after;
	int64_t start;

	if (!late)
		fail("calloc");
	/* The VMM may take its time here: what Linux then has to catch up with is counted, too. */
	puts(WORD_READY);
	start = now();
	for (unsigned long i = 0; i < n; i++)
		late[i] = sleep_once(alone ? ns : about(ns));
	start = now() - start;
	after = count();
	printf(WORD_REPORT "{\"sleeps\":%lu,\"sleep_ns\":%" PRId64
			   ",\"load\":\"%s\",\"loop_ns\":%" PRId64 ",",
	       n, ns, busy ? "busy" : "idle", start);
	print_late(late, n);
	print_counts(&before, &after);
	puts("}");
}

int main(int argc, char **argv)
{
	bool busy = argc == 5 && !strcmp(argv[3], "busy");
	unsigned long sleepers;
	int64_t ns;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 5)
		fail("usage: /init SLEEPS MICROSECONDS idle|busy SLEEPERS");
	ns = strtoll(argv[2], NULL, 10) * 1000;
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail("mount /proc");
	/* else every sleep may end 50 microseconds late */
	if (prctl(PR_SET_TIMERSLACK, 1))
		fail("prctl");
	pin(0);
	sleepers = strtoul(argv[4], NULL, 10);
	for (unsigned int cpu = 1; cpu < sleepers; cpu++)
		start_sleeper(cpu, ns);
	if (busy)
		start_load();
	measure(strtoul(argv[1], NULL, 10), ns, busy, sleepers == 1);
	reboot(RB_POWER_OFF);
	return 0;
}
