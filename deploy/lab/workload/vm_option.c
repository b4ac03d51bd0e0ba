// SPDX-License-Identifier: GPL-2.0-only
/* --vm OPTION=VALUE,... */
#include <stdlib.h>
#include <string.h>

#include "labvmm.h"

#define MAX_VMS		4096
#define MAX_VCPUS	4096
#define DEFAULT_PV_FREQ 100000000

static int one_of(const char *const *words, const char *text)
{
	for (int i = 0; text && words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static int parse_lpt(struct vm_spec *spec, const char *value)
{
	static const char *const words[] = {"off",	 "on",	  "try", "ipa-only",
					    "freq-only", "twice", NULL};
	int mode = one_of(words, value);

	if (mode < 0)
		return error("--vm: lpt is on, off, try, ipa-only, freq-only or twice");
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

int vm_option_parse(struct options *options, char *rest)
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
