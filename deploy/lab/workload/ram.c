// SPDX-License-Identifier: GPL-2.0-only
/* Guest memory: the image, what the guest is told, and where it counts. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "labvmm.h"

extern const uint8_t guest_image[], guest_image_end[];

/* The ids of the calls that a guest makes for itself, and their x1 where it is fixed. */
static const struct guest_op own_calls[SLOT_FIRST] = {
	[SLOT_CPU_ON] = {.id = 0xc4000003},
	[SLOT_CPU_OFF] = {.id = 0x84000002},
	[SLOT_SYSTEM_OFF] = {.id = 0x84000008},
	[SLOT_LPT_FEATURES] = {.id = 0xc5000020, .x1 = 0xc5000022},
	[SLOT_LPT] = {.id = 0xc5000022},
	[SLOT_ST_FEATURES] = {.id = 0xc5000020, .x1 = 0xc5000021},
	[SLOT_ST] = {.id = 0xc5000021},
	[SLOT_EMPTY] = {.kind = KIND_EMPTY},
};

static void *shared_alloc(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		error("cannot get %zu bytes of shared memory: %s", size, strerror(errno));
		return NULL;
	}
	return memory;
}

uint64_t ipa_of(const struct vm *vm, const void *pointer)
{
	return RAM_BASE + ((const uint8_t *)pointer - vm->ram);
}

static bool applies(const struct ops_rule *rule, const struct vm *vm, unsigned int vcpu)
{
	return (rule->vm == ALL || rule->vm == vm->index) &&
	       (rule->vcpu == ALL || rule->vcpu == vcpu);
}

static size_t ops_of(const struct vm *vm, unsigned int vcpu)
{
	const struct options *options = vm->options;
	size_t n = 0;

	for (size_t i = 0; i < options->n_rules; i++)
		if (applies(&options->rules[i], vm, vcpu))
			n += options->rules[i].n_ops;
	return n;
}

static size_t stride_of(const struct vm *vm)
{
	size_t each = sizeof(struct guest_op);
	size_t most = 0;

	if (vm->options->time_ops)
		each += sizeof(struct guest_timing);

	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		size_t n = ops_of(vm, i);

		most = n > most ? n : most;
	}
	return sizeof(struct guest_vcpu) + (SLOT_FIRST + most) * each;
}

static void fill_ops(const struct vm *vm, struct vcpu *vcpu)
{
	const struct options *options = vm->options;
	struct guest_op *next = &vcpu->guest->ops[SLOT_FIRST];

	memcpy(vcpu->guest->ops, own_calls, sizeof(own_calls));
	for (size_t i = 0; i < options->n_rules; i++) {
		const struct ops_rule *rule = &options->rules[i];

		for (size_t j = 0; applies(rule, vm, vcpu->index) && j < rule->n_ops; j++)
			*next++ = (struct guest_op){.kind = rule->ops[j].kind,
						    .id = rule->ops[j].id,
						    .x1 = rule->ops[j].x1,
						    .x3 = rule->ops[j].stride,
						    .per_round = rule->ops[j].count};
	}
	vcpu->guest->n_ops = next - &vcpu->guest->ops[SLOT_FIRST];
}

/* Timings follow the last operation. */
static void fill_timings(struct vcpu *vcpu)
{
	struct guest_vcpu *guest = vcpu->guest;
	size_t slots = SLOT_FIRST + guest->n_ops;

	vcpu->timings = (struct guest_timing *)&guest->ops[slots];
	guest->timings = ipa_of(vcpu->vm, vcpu->timings);
	memset(vcpu->timings, 0, slots * sizeof(*vcpu->timings));
	for (size_t i = 0; i < slots; i++)
		vcpu->timings[i].min = UINT64_MAX;
}

static void place_vcpu(struct vm *vm, unsigned int index)
{
	struct vcpu *vcpu = &vm->vcpus[index];

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->guest =
		(struct guest_vcpu *)(vm->ram + GUEST_VCPU_OFFSET + index * vm->guest->stride);
}

static void fill_vcpu(struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;

	vcpu->guest->boot = vcpu->index == 0;
	vcpu->guest->stolen = vm->spec->stolen != STOLEN_OFF;
	vcpu->guest->redist = GIC_REDIST_BASE + vcpu->index * GIC_REDIST_SIZE + GIC_REDIST_SGI;
	vcpu->guest->random = 0x9e3779b97f4a7c15 * ((uint64_t)vm->index << 32 | (vcpu->index + 1));
	fill_ops(vm, vcpu);
	if (vm->options->time_ops)
		fill_timings(vcpu);
}

uint64_t counter_frequency(void)
{
	uint64_t hz;

	asm volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz;
}

static void fill_vm(struct vm *vm)
{
	const struct options *options = vm->options;

	memcpy(vm->ram, guest_image, guest_image_end - guest_image);
	vm->guest->vcpus = vm->spec->vcpus;
	vm->guest->stride = stride_of(vm);
	vm->guest->rounds = options->rounds;
	vm->guest->spin = options->spin;
	vm->guest->pause = options->pause_us || options->save;
	vm->guest->lpt = vm->spec->lpt != LPT_OFF;
	vm->guest->deadline = options->deadline_us * counter_frequency() / 1000000;
	vm->save_round = options->save_after;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		place_vcpu(vm, i);
		fill_vcpu(&vm->vcpus[i]);
	}
}

/* What it counts on this host only: this host's tools cannot know of the others. */
static void forget_counts(struct vcpu *vcpu)
{
	struct guest_vcpu *guest = vcpu->guest;

	for (size_t i = 0; i < SLOT_FIRST + guest->n_ops; i++) {
		guest->ops[i].count = 0;
		guest->ops[i].answer = 0;
	}
	guest->mmio_exits = 0;
	if (guest->timings)
		fill_timings(vcpu);
	vcpu->rounds_before = guest->rounds;
	vcpu->passed = guest->rounds;
}

static void fill_restored(struct vm *vm)
{
	memcpy(vm->ram, state_ram(vm->state), vm->ram_size);
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		place_vcpu(vm, i);
		forget_counts(&vm->vcpus[i]);
		state_clock(&vm->vcpus[i], &vm->vcpus[i].clock);
	}
	if (vm->options->save_after)
		vm->save_round = vm->vcpus[0].passed + vm->options->save_after;
}

static size_t ram_size(const struct vm *vm)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = GUEST_VCPU_OFFSET + vm->spec->vcpus * stride_of(vm);

	return vm->state ? state_ram_size(vm->state) : (size + page - 1) / page * page;
}

static int vm_alloc(struct vm *vm)
{
	vm->fd = -1;
	vm->ram_size = ram_size(vm);
	vm->ram = shared_alloc(vm->ram_size);
	vm->vcpus = shared_alloc(vm->spec->vcpus * sizeof(struct vcpu));
	if (!vm->ram || !vm->vcpus)
		return -1;
	vm->guest = (struct guest_vm *)(vm->ram + GUEST_VM_OFFSET);
	if (vm->state)
		fill_restored(vm);
	else
		fill_vm(vm);
	return 0;
}

/* As it was before it ran, for another VM to be made of it. */
void vm_refill(struct vm *vm)
{
	memset(vm->ram, 0, vm->ram_size);
	memset(vm->vcpus, 0, vm->spec->vcpus * sizeof(*vm->vcpus));
	vm->aborted = false;
	vm->lpt_errno = 0;
	vm->stolen_errno = 0;
	fill_vm(vm);
}

struct vm *vms_alloc(const struct options *options, const struct state *state)
{
	struct vm *vms = shared_alloc(options->n_vms * sizeof(*vms));

	for (unsigned int i = 0; vms && i < options->n_vms; i++) {
		vms[i].options = options;
		vms[i].spec = &options->vms[i];
		vms[i].index = i;
		vms[i].state = state;
		if (vm_alloc(&vms[i]) < 0)
			return NULL;
	}
	return vms;
}
