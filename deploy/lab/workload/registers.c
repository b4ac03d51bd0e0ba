// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU's registers, all that KVM lists, out of it and into it again. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "state.h"

static int one_register(const struct vcpu *vcpu, unsigned long request, uint64_t id, void *value)
{
	struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)value};

	if (!ioctl(vcpu->fd, request, &reg))
		return 0;
	return vm_error(vcpu->vm, "vcpu %u: %s 0x%lx failed: %s", vcpu->index,
			request == KVM_GET_ONE_REG ? "KVM_GET_ONE_REG" : "KVM_SET_ONE_REG", id,
			strerror(errno));
}

/*
 * The virtual count is the VM's, saved and restored once. The physical one is the host's: setting
 * it would give the VM an offset of its own, for which newer hosts trap it.
 */
static bool is_count(uint64_t id)
{
	return id == KVM_REG_ARM_TIMER_CNT || id == KVM_REG_ARM_PTIMER_CNT;
}

static struct kvm_reg_list *list_registers(const struct vcpu *vcpu)
{
	struct kvm_reg_list *list = calloc(1, sizeof(*list) + MAX_REGISTERS * sizeof(uint64_t));

	if (!list) {
		error("out of memory");
		return NULL;
	}
	list->n = MAX_REGISTERS;
	if (!ioctl(vcpu->fd, KVM_GET_REG_LIST, list))
		return list;
	vm_error(vcpu->vm, "vcpu %u: KVM_GET_REG_LIST of up to %d failed: %s", vcpu->index,
		 MAX_REGISTERS, strerror(errno));
	free(list);
	return NULL;
}

static int save_listed(struct vcpu *vcpu, const struct kvm_reg_list *list, struct saved_vcpu *saved)
{
	saved->n_registers = 0;
	for (uint64_t i = 0; i < list->n; i++) {
		struct saved_register *reg = &saved->registers[saved->n_registers];

		if (is_count(list->reg[i]))
			continue;
		if (KVM_REG_SIZE(list->reg[i]) > sizeof(reg->value))
			return vm_error(vcpu->vm, "vcpu %u: register 0x%llx has %u bytes",
					vcpu->index, list->reg[i], KVM_REG_SIZE(list->reg[i]));
		reg->id = list->reg[i];
		if (one_register(vcpu, KVM_GET_ONE_REG, reg->id, reg->value) < 0)
			return -1;
		saved->n_registers++;
	}
	return 0;
}

int registers_save(struct vcpu *vcpu, struct saved_vcpu *saved)
{
	struct kvm_mp_state mp_state;
	struct kvm_reg_list *list;
	int ret;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp_state) < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_GET_MP_STATE failed: %s", vcpu->index,
				strerror(errno));
	saved->mp_state = mp_state.mp_state;
	list = list_registers(vcpu);
	if (!list)
		return -1;
	ret = save_listed(vcpu, list, saved);
	free(list);
	return ret;
}

int registers_restore(struct vcpu *vcpu, const struct saved_vcpu *saved)
{
	struct kvm_mp_state mp_state = {.mp_state = saved->mp_state};

	for (uint32_t i = 0; i < saved->n_registers; i++) {
		struct saved_register reg = saved->registers[i];

		if (one_register(vcpu, KVM_SET_ONE_REG, reg.id, reg.value) < 0)
			return -1;
	}
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp_state) < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_SET_MP_STATE failed: %s", vcpu->index,
				strerror(errno));
	return 0;
}

/* KVM keeps one offset for all vCPUs of a VM, through any of them. */
int count_get(struct vm *vm, uint64_t *count)
{
	return one_register(&vm->vcpus[0], KVM_GET_ONE_REG, KVM_REG_ARM_TIMER_CNT, count);
}

int count_set(struct vm *vm, uint64_t count)
{
	return one_register(&vm->vcpus[0], KVM_SET_ONE_REG, KVM_REG_ARM_TIMER_CNT, &count);
}
