// SPDX-License-Identifier: GPL-2.0-only
/* A running VM into a file, and out of it on another host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

static const char magic[8] = "labstate";

extern const uint8_t guest_image[], guest_image_end[];

static uint64_t hash(uint64_t h, const void *data, size_t size)
{
	const uint8_t *byte = data;

	while (size--)
		h = (h ^ *byte++) * 0x100000001b3; /* FNV-1a */
	return h;
}

static uint64_t this_build(void)
{
	static const size_t sizes[] = {sizeof(struct guest_vm), sizeof(struct guest_vcpu),
				       sizeof(struct guest_op), sizeof(struct guest_timing),
				       sizeof(struct saved_vcpu)};
	uint64_t h = hash(0xcbf29ce484222325, guest_image, guest_image_end - guest_image);

	return hash(h, sizes, sizeof(sizes));
}

static bool read_all(FILE *file, void *data, size_t size)
{
	return fread(data, 1, size, file) == size;
}

static bool read_header(FILE *file, struct state_header *header)
{
	return read_all(file, header, sizeof(*header)) &&
	       !memcmp(header->magic, magic, sizeof(magic)) && header->build == this_build();
}

static bool read_body(FILE *file, struct state *state)
{
	size_t vcpus_size = state->header.vcpus * sizeof(*state->vcpus);

	state->ram = malloc(state->header.ram_size);
	state->vcpus = malloc(vcpus_size);
	return state->ram && state->vcpus && read_all(file, state->ram, state->header.ram_size) &&
	       read_all(file, state->vcpus, vcpus_size);
}

struct state *state_load(const char *path)
{
	FILE *file = fopen(path, "re");
	struct state *state = calloc(1, sizeof(*state));
	bool ok;

	if (!file || !state) {
		error("cannot read %s: %s", path, strerror(errno));
		return NULL;
	}
	ok = read_header(file, &state->header) && read_body(file, state);
	fclose(file);
	if (ok)
		return state;
	error("%s: not a VM saved by this build of labvmm, or cut short; save it again", path);
	return NULL;
}

void state_spec(const struct state *state, struct vm_spec *spec)
{
	*spec = (struct vm_spec){.name = state->header.name,
				 .vcpus = state->header.vcpus,
				 .lpt = state->header.lpt,
				 .pv_freq = state->header.pv_freq,
				 .stolen = state->header.stolen};
}

size_t state_ram_size(const struct state *state)
{
	return state->header.ram_size;
}

const void *state_ram(const struct state *state)
{
	return state->ram;
}

void state_clock(const struct vcpu *vcpu, struct clock_watch *clock)
{
	const struct saved_vcpu *saved = &vcpu->vm->state->vcpus[vcpu->index];

	clock->n_hosts = saved->n_hosts;
	memcpy(clock->hosts, saved->hosts, sizeof(saved->hosts));
}

/* The last thing before the VM runs: its time goes on from here. */
static int restore_count(struct vm *vm)
{
	const struct state_header *header = &vm->state->header;
	uint64_t skip_us = vm->options->skip_us;
	uint64_t skip = skip_us * header->count_freq / 1000000;

	vm->restored.skip_ns = skip_us * 1e3;
	vm->restored.set_before_ns = raw_ns();
	if (count_set(vm, header->count + skip) < 0)
		return -1;
	vm->restored.set_after_ns = raw_ns();
	return 0;
}

int state_restore(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (registers_restore(&vm->vcpus[i], &vm->state->vcpus[i]) < 0)
			return -1;
	return restore_count(vm);
}

static int save_count(struct vm *vm, struct state_header *header)
{
	int64_t before = raw_ns();

	header->count_freq = counter_frequency();
	if (count_get(vm, &header->count) < 0)
		return -1;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		clock_saved(&vm->vcpus[i], before, raw_ns());
	return 0;
}

static int save_vcpus(struct vm *vm, struct saved_vcpu *saved)
{
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		if (registers_save(vcpu, &saved[i]) < 0)
			return -1;
		saved[i].n_hosts = vcpu->clock.n_hosts;
		memcpy(saved[i].hosts, vcpu->clock.hosts, sizeof(saved[i].hosts));
	}
	return 0;
}

static int write_file(const char *path, const struct state *state)
{
	FILE *file = fopen(path, "we");
	bool ok;

	if (!file)
		return error("cannot write %s: %s", path, strerror(errno));
	ok = fwrite(&state->header, sizeof(state->header), 1, file) == 1 &&
	     fwrite(state->ram, state->header.ram_size, 1, file) == 1 &&
	     fwrite(state->vcpus, sizeof(*state->vcpus), state->header.vcpus, file) ==
		     state->header.vcpus;
	if (fclose(file) || !ok)
		return error("cannot write %s: %s", path, strerror(errno));
	return 0;
}

static int check_parked(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (!vm->vcpus[i].parked)
			return vm_error(vm, "not saved: vcpu %u had ended; give it more rounds", i);
	return 0;
}

int state_save(struct vm *vm, const char *path)
{
	struct state state = {.ram = vm->ram};
	int ret = check_parked(vm);

	if (ret < 0)
		return ret;
	state.vcpus = calloc(vm->spec->vcpus, sizeof(*state.vcpus));
	if (!state.vcpus)
		return error("out of memory");
	state.header = (struct state_header){.build = this_build(),
					     .vcpus = vm->spec->vcpus,
					     .lpt = vm->spec->lpt,
					     .pv_freq = vm->spec->pv_freq,
					     .stolen = vm->spec->stolen,
					     .ram_size = vm->ram_size};
	memcpy(state.header.magic, magic, sizeof(magic));
	strncpy(state.header.name, vm->spec->name, sizeof(state.header.name) - 1);
	if (save_count(vm, &state.header) < 0 || save_vcpus(vm, state.vcpus) < 0)
		ret = -1;
	else
		ret = write_file(path, &state);
	free(state.vcpus);
	return ret;
}
