// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "labvmm.h"

int parse_u64(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	if (!text || *text < '0' || *text > '9')
		return -1;
	*value = strtoull(text, &end, 0);
	return *end || errno || *value > max ? -1 : 0;
}

/* The array with room for one element more. Out of memory ends the program. */
void *append(void *array, size_t n, size_t size)
{
	void *bigger = reallocarray(array, n + 1, size);

	if (!bigger) {
		error("out of memory");
		exit(1);
	}
	return bigger;
}

int parse_bounded(const char *what, const char *value, uint64_t min, uint64_t max, uint64_t *number)
{
	if (parse_u64(value, max, number) < 0 || *number < min)
		return error("%s: expected a number from %lu to %lu, not '%s'", what, min, max,
			     value ? value : "");
	return 0;
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

enum {
	VM = 256,
	OPS,
	SPIN,
	ROUNDS,
	FOREVER,
	PAUSE_US,
	TIME_OPS,
	CHURN,
	SAVE,
	SAVE_AFTER,
	RESTORE,
	SKIP_US,
	DEADLINE_US,
	FORK,
	START_BARRIER,
	HOLD,
	HELP
};

static const struct option long_options[] = {
	{"vm", required_argument, NULL, VM},
	{"ops", required_argument, NULL, OPS},
	{"spin", required_argument, NULL, SPIN},
	{"rounds", required_argument, NULL, ROUNDS},
	{"forever", no_argument, NULL, FOREVER},
	{"pause-us", required_argument, NULL, PAUSE_US},
	{"time-ops", no_argument, NULL, TIME_OPS},
	{"churn", required_argument, NULL, CHURN},
	{"save", required_argument, NULL, SAVE},
	{"save-after", required_argument, NULL, SAVE_AFTER},
	{"restore", required_argument, NULL, RESTORE},
	{"skip-us", required_argument, NULL, SKIP_US},
	{"deadline-us", required_argument, NULL, DEADLINE_US},
	{"fork", no_argument, NULL, FORK},
	{"start-barrier", no_argument, NULL, START_BARRIER},
	{"hold", no_argument, NULL, HOLD},
	{"help", no_argument, NULL, HELP},
	{NULL, 0, NULL, 0},
};

static int parse_number(struct options *options, int option)
{
	static const struct {
		const char *name;
		size_t member;
		uint64_t min;
	} numbers[] = {
		[SPIN - VM] = {"--spin", offsetof(struct options, spin), 0},
		[ROUNDS - VM] = {"--rounds", offsetof(struct options, rounds), 1},
		[PAUSE_US - VM] = {"--pause-us", offsetof(struct options, pause_us), 0},
		[CHURN - VM] = {"--churn", offsetof(struct options, churn), 1},
		[SAVE_AFTER - VM] = {"--save-after", offsetof(struct options, save_after), 1},
		[SKIP_US - VM] = {"--skip-us", offsetof(struct options, skip_us), 0},
		[DEADLINE_US - VM] = {"--deadline-us", offsetof(struct options, deadline_us), 1},
	};
	size_t i = option - VM;

	return parse_bounded(numbers[i].name, optarg, numbers[i].min, UINT32_MAX,
			     (uint64_t *)((char *)options + numbers[i].member));
}

static int parse_flag(struct options *options, int option)
{
	switch (option) {
	case FOREVER:
		options->rounds = 0;
		return 0;
	case TIME_OPS:
		options->time_ops = true;
		return 0;
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

static int parse_option(struct options *options, int option)
{
	switch (option) {
	case VM:
		return vm_option_parse(options, optarg);
	case OPS:
		return parse_ops(options, optarg);
	case SAVE:
		options->save = optarg;
		return 0;
	case RESTORE:
		options->restore = optarg;
		return 0;
	case SPIN:
	case ROUNDS:
	case PAUSE_US:
	case CHURN:
	case SAVE_AFTER:
	case SKIP_US:
	case DEADLINE_US:
		return parse_number(options, option);
	}
	return parse_flag(options, option);
}

static int check_churn(const struct options *options)
{
	if (options->churn && (options->hold || options->time_ops || !options->rounds))
		return error("--churn goes without --hold, --time-ops and --forever");
	return 0;
}

/* `given` has a bit for each option. */
static int check_state(const struct options *options, uint32_t given)
{
	const uint32_t in_file = 1 << (VM - VM) | 1 << (OPS - VM) | 1 << (SPIN - VM) |
				 1 << (ROUNDS - VM) | 1 << (FOREVER - VM) | 1 << (TIME_OPS - VM) |
				 1 << (DEADLINE_US - VM);

	if (options->restore && (given & in_file))
		return error("--restore takes the VM and its work from the file; leave out --vm, "
			     "--ops, --spin, --rounds, --forever, --time-ops and --deadline-us");
	if ((options->save || options->restore) && (options->fork || options->churn))
		return error("--save and --restore go without --fork and --churn");
	if (options->save && !options->restore && options->n_vms > 1)
		return error("--save: one VM, not %u", options->n_vms);
	if (options->save_after && !options->save)
		return error("--save-after without --save FILE");
	if (options->skip_us && !options->restore)
		return error("--skip-us without --restore FILE");
	return 0;
}

int options_parse(struct options *options, int argc, char **argv)
{
	static char one_vm[] = "vcpus=1";
	uint32_t given = 0;
	int option;

	*options = (struct options){.rounds = 1};
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (parse_option(options, option) < 0)
			return -1;
		given |= 1 << (option - VM);
	}
	if (optind < argc)
		return error("unexpected argument '%s'; see labvmm --help", argv[optind]);
	if (check_churn(options) < 0 || check_state(options, given) < 0)
		return -1;
	if (options->restore)
		return 0;
	if (!options->n_vms && vm_option_parse(options, one_vm) < 0)
		return -1;
	return check_rules(options);
}
