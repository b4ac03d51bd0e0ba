// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "labvmm.h"

#define MAX_VMS		4096
#define MAX_VCPUS	4096
#define DEFAULT_PV_FREQ 100000000

int parse_u64(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	if (!text || *text < '0' || *text > '9')
		return -1;
	*value = strtoull(text, &end, 0);
	return *end || errno || *value > max ? -1 : 0;
}

/* The array with room for one element more. Out of memory ends the program: nothing runs yet. */
void *append(void *array, size_t n, size_t size)
{
	void *bigger = reallocarray(array, n + 1, size);

	if (!bigger) {
		error("out of memory while reading the options");
		exit(1);
	}
	return bigger;
}

static int one_of(const char *const *words, const char *text)
{
	for (int i = 0; text && words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static int parse_lpt(struct vm_spec *spec, const char *value)
{
	static const char *const words[] = {"off", "on", "try", "ipa-only", "freq-only", NULL};
	int mode = one_of(words, value);

	if (mode < 0)
		return error("--vm: lpt is on, off, try, ipa-only or freq-only");
	spec->lpt = mode;
	return 0;
}

static int parse_stolen(struct vm_spec *spec, const char *value)
{
	static const char *const words[] = {"off", "on", "try", NULL};
	int mode = one_of(words, value);

	if (mode < 0)
		return error("--vm: stolen is on, off or try");
	spec->stolen = mode;
	return 0;
}

static int parse_bounded(const char *what, const char *value, uint64_t min, uint64_t max,
			 uint64_t *number)
{
	if (parse_u64(value, max, number) < 0 || *number < min)
		return error("%s: expected a number from %lu to %lu, not '%s'", what, min, max,
			     value ? value : "");
	return 0;
}

static int parse_vm_word(struct vm_spec *spec, uint64_t *count, char **rest, bool *has_freq)
{
	enum { VCPUS, NAME, LPT, PV_FREQ, STOLEN, COUNT };
	static char *const words[] = {"vcpus", "name", "lpt", "pv-freq", "stolen", "count", NULL};
	uint64_t number;
	char *value;

	switch (getsubopt(rest, words, &value)) {
	case VCPUS:
		if (parse_bounded("--vm: vcpus", value, 1, MAX_VCPUS, &number) < 0)
			return -1;
		spec->vcpus = number;
		return 0;
	case NAME:
		spec->name = value ? value : "";
		return 0;
	case LPT:
		return parse_lpt(spec, value);
	case PV_FREQ:
		*has_freq = true;
		if (parse_bounded("--vm: pv-freq", value, 0, UINT32_MAX, &number) < 0)
			return -1;
		spec->pv_freq = number;
		return 0;
	case STOLEN:
		return parse_stolen(spec, value);
	case COUNT:
		return parse_bounded("--vm: count", value, 1, MAX_VMS, count);
	}
	return error("--vm: unknown option '%s'; see labvmm --help", value ? value : "");
}

static int add_vms(struct options *options, const struct vm_spec *spec, uint64_t count)
{
	if (options->n_vms + count > MAX_VMS)
		return error("--vm: more than %d VMs", MAX_VMS);
	for (; count; count--) {
		options->vms = append(options->vms, options->n_vms, sizeof(*spec));
		options->vms[options->n_vms++] = *spec;
	}
	return 0;
}

static int parse_vm(struct options *options, char *rest)
{
	struct vm_spec spec = {.name = "", .vcpus = 1, .pv_freq = DEFAULT_PV_FREQ};
	bool has_freq = false;
	uint64_t count = 1;

	while (*rest)
		if (parse_vm_word(&spec, &count, &rest, &has_freq) < 0)
			return -1;
	if (has_freq && spec.lpt == LPT_OFF)
		return error("--vm: pv-freq without lpt; add lpt=on or another mode");
	return add_vms(options, &spec, count);
}

static int parse_ops(struct options *options, char *text)
{
	options->rules = append(options->rules, options->n_rules, sizeof(*options->rules));
	return ops_parse(&options->rules[options->n_rules++], text);
}

static bool rule_matches_some(const struct options *options, const struct ops_rule *rule)
{
	for (unsigned int i = 0; i < options->n_vms; i++)
		if ((rule->vm == ALL || rule->vm == i) && rule->vcpu < (long)options->vms[i].vcpus)
			return true;
	return false;
}

static int check_rules(const struct options *options)
{
	for (size_t i = 0; i < options->n_rules; i++)
		if (!rule_matches_some(options, &options->rules[i]))
			return error("--ops number %zu names a vm or vcpu that no --vm makes",
				     i + 1);
	return 0;
}

enum { VM = 256, OPS, SPIN, ROUNDS, FOREVER, PAUSE_US, FORK, START_BARRIER, HOLD, HELP };

static const struct option long_options[] = {
	{"vm", required_argument, NULL, VM},
	{"ops", required_argument, NULL, OPS},
	{"spin", required_argument, NULL, SPIN},
	{"rounds", required_argument, NULL, ROUNDS},
	{"forever", no_argument, NULL, FOREVER},
	{"pause-us", required_argument, NULL, PAUSE_US},
	{"fork", no_argument, NULL, FORK},
	{"start-barrier", no_argument, NULL, START_BARRIER},
	{"hold", no_argument, NULL, HOLD},
	{"help", no_argument, NULL, HELP},
	{NULL, 0, NULL, 0},
};

static int parse_option(struct options *options, int option)
{
	switch (option) {
	case VM:
		return parse_vm(options, optarg);
	case OPS:
		return parse_ops(options, optarg);
	case SPIN:
		return parse_bounded("--spin", optarg, 0, UINT32_MAX, &options->spin);
	case ROUNDS:
		return parse_bounded("--rounds", optarg, 1, UINT32_MAX, &options->rounds);
	case FOREVER:
		options->rounds = 0;
		return 0;
	case PAUSE_US:
		return parse_bounded("--pause-us", optarg, 0, UINT32_MAX, &options->pause_us);
	case FORK:
		options->fork = true;
		return 0;
	case START_BARRIER:
		options->start_barrier = true;
		return 0;
	case HOLD:
		options->hold = true;
		return 0;
	case HELP:
		options->help = true;
		return 0;
	}
	return -1; /* getopt has said why */
}

int options_parse(struct options *options, int argc, char **argv)
{
	static char one_vm[] = "vcpus=1";
	int option;

	*options = (struct options){.rounds = 1};
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (parse_option(options, option) < 0)
			return -1;
	if (optind < argc)
		return error("unexpected argument '%s'; see labvmm --help", argv[optind]);
	if (!options->n_vms && parse_vm(options, one_vm) < 0)
		return -1;
	return check_rules(options);
}
