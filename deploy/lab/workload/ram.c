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
	size_t most = 0;

	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		size_t n = ops_of(vm, i);

		most = n > most ? n : most;
	}
	return sizeof(struct guest_vcpu) + (SLOT_FIRST + most) * sizeof(struct guest_op);
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
						    .per_round = rule->ops[j].count};
	}
	vcpu->guest->n_ops = next - &vcpu->guest->ops[SLOT_FIRST];
}

static void fill_vcpu(struct vm *vm, unsigned int index)
{
	struct vcpu *vcpu = &vm->vcpus[index];
	uint8_t *area = vm->ram + GUEST_VCPU_OFFSET + index * vm->guest->stride;

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->guest = (struct guest_vcpu *)area;
	vcpu->guest->boot = index == 0;
	vcpu->guest->stolen = vm->spec->stolen != STOLEN_OFF;
	fill_ops(vm, vcpu);
}

static void fill_vm(struct vm *vm, size_t stride)
{
	memcpy(vm->ram, guest_image, guest_image_end - guest_image);
	vm->guest = (struct guest_vm *)(vm->ram + GUEST_VM_OFFSET);
	vm->guest->vcpus = vm->spec->vcpus;
	vm->guest->stride = stride;
	vm->guest->rounds = vm->options->rounds;
	vm->guest->spin = vm->options->spin;
	vm->guest->pause = vm->options->pause_us != 0;
	vm->guest->lpt = vm->spec->lpt != LPT_OFF;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		fill_vcpu(vm, i);
}

static int vm_alloc(struct vm *vm)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t stride = stride_of(vm);
	size_t size = GUEST_VCPU_OFFSET + vm->spec->vcpus * stride;

	vm->fd = -1;
	vm->ram_size = (size + page - 1) / page * page;
	vm->ram = shared_alloc(vm->ram_size);
	vm->vcpus = shared_alloc(vm->spec->vcpus * sizeof(struct vcpu));
	if (!vm->ram || !vm->vcpus)
		return -1;
	fill_vm(vm, stride);
	return 0;
}

struct vm *vms_alloc(const struct options *options)
{
	struct vm *vms = shared_alloc(options->n_vms * sizeof(*vms));

	for (unsigned int i = 0; vms && i < options->n_vms; i++) {
		vms[i].options = options;
		vms[i].spec = &options->vms[i];
		vms[i].index = i;
		if (vm_alloc(&vms[i]) < 0)
			return NULL;
	}
	return vms;
}
