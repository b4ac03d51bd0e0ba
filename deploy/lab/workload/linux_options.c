// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <string.h>

#include "lablinux.h"

#define DEFAULT_KERNEL "/lab/Image"
#define MAX_SLEEPS     1000000
#define MAX_SLEEP_US   1000000

static int parse_vcpus(struct linux_options *options)
{
	uint64_t number;

	if (parse_bounded("--vcpus", optarg, 1, LINUX_MAX_VCPUS, &number) < 0)
		return -1;
	options->spec.vcpus = number;
	return 0;
}

/* 0 for the first word, 1 for the second, else -1 */
static int parse_choice(const char *name, const char *first, const char *second)
{
	if (!strcmp(optarg, first))
		return 0;
	if (!strcmp(optarg, second))
		return 1;
	return error("--%s: expected %s or %s, not '%s'", name, first, second, optarg);
}

static int parse_timer(struct linux_options *options)
{
	int choice = parse_choice("timer", "virtual", "physical");

	options->physical_timer = choice > 0;
	return choice < 0 ? -1 : 0;
}

static int parse_load(struct linux_options *options)
{
	int choice = parse_choice("load", "idle", "busy");

	options->busy = choice > 0;
	return choice < 0 ? -1 : 0;
}

enum {
	KERNEL = 256,
	VCPUS,
	TIMER,
	SLEEPS,
	SLEEP_US,
	LOAD,
	EVERYWHERE,
	STOLEN,
	START_BARRIER,
	HOLD,
	VERBOSE,
	HELP
};

static const struct option long_options[] = {
	{"kernel", required_argument, NULL, KERNEL},
	{"vcpus", required_argument, NULL, VCPUS},
	{"timer", required_argument, NULL, TIMER},
	{"sleeps", required_argument, NULL, SLEEPS},
	{"sleep-us", required_argument, NULL, SLEEP_US},
	{"load", required_argument, NULL, LOAD},
	{"everywhere", no_argument, NULL, EVERYWHERE},
	{"stolen", no_argument, NULL, STOLEN},
	{"start-barrier", no_argument, NULL, START_BARRIER},
	{"hold", no_argument, NULL, HOLD},
	{"verbose", no_argument, NULL, VERBOSE},
	{"help", no_argument, NULL, HELP},
	{NULL, 0, NULL, 0},
};

static int parse_value(struct linux_options *options, int option)
{
	switch (option) {
	case KERNEL:
		options->kernel = optarg;
		return 0;
	case VCPUS:
		return parse_vcpus(options);
	case TIMER:
		return parse_timer(options);
	case SLEEPS:
		return parse_bounded("--sleeps", optarg, 1, MAX_SLEEPS, &options->sleeps);
	case SLEEP_US:
		return parse_bounded("--sleep-us", optarg, 1, MAX_SLEEP_US, &options->sleep_us);
	case LOAD:
		return parse_load(options);
	}
	return -1; /* getopt has said why */
}

static int parse_option(struct linux_options *options, int option)
{
	switch (option) {
	case EVERYWHERE:
		options->everywhere = true;
		return 0;
	case STOLEN:
		options->spec.stolen = STOLEN_ON;
		return 0;
	case START_BARRIER:
		options->start_barrier = true;
		return 0;
	case HOLD:
		options->hold = true;
		return 0;
	case VERBOSE:
		options->verbose = true;
		return 0;
	case HELP:
		options->help = true;
		return 0;
	}
	return parse_value(options, option);
}

int linux_options_parse(struct linux_options *options, int argc, char **argv)
{
	int option;

	*options = (struct linux_options){.spec = {.name = "", .vcpus = 1},
					  .kernel = DEFAULT_KERNEL,
					  .sleeps = 1000,
					  .sleep_us = 1000};
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (parse_option(options, option) < 0)
			return -1;
	if (optind < argc)
		return error("unexpected argument '%s'; see lablinux --help", argv[optind]);
	return 0;
}
