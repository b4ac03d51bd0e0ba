// SPDX-License-Identifier: GPL-2.0-only
/* The attributes that give a VM Live Physical Time, and its vCPUs their stolen time. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "labvmm.h"

/* No released header has these. */
#define KVM_ARM_VM_PVTIME_LPT_IPA  0
#define KVM_ARM_VM_PVTIME_LPT_FREQ 1
#define LPT_NO_ATTR		   2

/* The RFC's group, and that of our ports to kernels that have another group of that number. */
static const uint32_t lpt_groups[] = {0, 0x4c50};

/* 0 or the errno */
static int attr_ioctl(int fd, unsigned long request, uint32_t group, uint64_t attr, void *value)
{
	struct kvm_device_attr args = {.group = group, .attr = attr, .addr = (uintptr_t)value};

	return ioctl(fd, request, &args) < 0 ? errno : 0;
}

static int lpt_attr(struct vm *vm, unsigned long request, uint64_t attr, void *value)
{
	return attr_ioctl(vm->fd, request, vm->lpt_group, attr, value);
}

/*
 * Finds the group, and returns 0 or the errno of the RFC's. Since 6.4 all hosts have a group 0, the
 * SMCCC filter. Its attribute 0 would take the IPA for a pointer to a filter, and has no other one,
 * so attribute 1 tells whether a group is LPT's.
 */
static int lpt_probe(struct vm *vm)
{
	int errors[2];

	for (int i = 0; i < 2; i++) {
		vm->lpt_group = lpt_groups[i];
		errors[i] = attr_ioctl(vm->fd, KVM_HAS_DEVICE_ATTR, vm->lpt_group,
				       KVM_ARM_VM_PVTIME_LPT_FREQ, NULL);
		if (!errors[i])
			return 0;
	}
	vm->lpt_group = lpt_groups[0];
	return errors[0];
}

static int lpt_set_freq(struct vm *vm)
{
	uint32_t freq = vm->spec->pv_freq;

	if (vm->spec->lpt == LPT_IPA_ONLY)
		return 0;
	return lpt_attr(vm, KVM_SET_DEVICE_ATTR, KVM_ARM_VM_PVTIME_LPT_FREQ, &freq);
}

static int lpt_set_ipa(struct vm *vm)
{
	uint64_t ipa = ipa_of(vm, &vm->guest->lpt_published);

	if (vm->spec->lpt == LPT_FREQ_ONLY)
		return 0;
	return lpt_attr(vm, KVM_SET_DEVICE_ATTR, KVM_ARM_VM_PVTIME_LPT_IPA, &ipa);
}

static int lpt_apply(struct vm *vm)
{
	int err = lpt_set_freq(vm);

	return err ? err : lpt_set_ipa(vm);
}

static int expect(struct vm *vm, const char *what, int err, int expected)
{
	if (err == expected)
		return 0;
	return vm_error(vm, "%s: expected %s, got %s", what, strerror(expected), strerror(err));
}

/* What KVM has to refuse, and to give back. */
static int lpt_again(struct vm *vm)
{
	uint64_t ipa = 0, none = 0;
	uint32_t freq = 0;

	if (expect(vm, "setting LPT_FREQ again", lpt_set_freq(vm), EEXIST) < 0 ||
	    expect(vm, "setting LPT_IPA again", lpt_set_ipa(vm), EEXIST) < 0 ||
	    expect(vm, "setting an attribute that is not there",
		   lpt_attr(vm, KVM_SET_DEVICE_ATTR, LPT_NO_ATTR, &none), ENXIO) < 0 ||
	    expect(vm, "getting an attribute that is not there",
		   lpt_attr(vm, KVM_GET_DEVICE_ATTR, LPT_NO_ATTR, &none), ENXIO) < 0 ||
	    expect(vm, "getting LPT_FREQ",
		   lpt_attr(vm, KVM_GET_DEVICE_ATTR, KVM_ARM_VM_PVTIME_LPT_FREQ, &freq), 0) < 0 ||
	    expect(vm, "getting LPT_IPA",
		   lpt_attr(vm, KVM_GET_DEVICE_ATTR, KVM_ARM_VM_PVTIME_LPT_IPA, &ipa), 0) < 0)
		return -1;
	if (freq != vm->spec->pv_freq || ipa != ipa_of(vm, &vm->guest->lpt_published))
		return vm_error(vm, "got other LPT attributes than were set: %u Hz, IPA 0x%lx",
				freq, ipa);
	return 0;
}

int lpt_setup(struct vm *vm)
{
	if (vm->spec->lpt == LPT_OFF)
		return 0;
	vm->lpt_errno = lpt_probe(vm);
	if (vm->lpt_errno && vm->spec->lpt != LPT_TRY)
		return vm_error(vm,
				"this host has no Live Physical Time (%s); it needs a kernel with "
				"the LPT patches, or lpt=try to go on without",
				strerror(vm->lpt_errno));
	if (!vm->lpt_errno)
		vm->lpt_errno = lpt_apply(vm);
	if (vm->lpt_errno && vm->spec->lpt != LPT_TRY)
		return vm_error(vm,
				"the host refuses its LPT attributes: %s; see whether pv-freq=%u "
				"can be right",
				strerror(vm->lpt_errno), vm->spec->pv_freq);
	return vm->spec->lpt == LPT_TWICE ? lpt_again(vm) : 0;
}

static int stolen_apply(struct vcpu *vcpu)
{
	uint64_t ipa = ipa_of(vcpu->vm, &vcpu->guest->steal);

	return attr_ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, KVM_ARM_VCPU_PVTIME_CTRL,
			  KVM_ARM_VCPU_PVTIME_IPA, &ipa);
}

int stolen_setup(struct vm *vm)
{
	if (vm->spec->stolen == STOLEN_OFF)
		return 0;
	for (unsigned int i = 0; !vm->stolen_errno && i < vm->spec->vcpus; i++)
		vm->stolen_errno = stolen_apply(&vm->vcpus[i]);
	if (!vm->stolen_errno || vm->spec->stolen == STOLEN_TRY)
		return 0;
	return vm_error(vm,
			"the host refuses the stolen time attribute: %s; it needs a kernel with "
			"CONFIG_SCHED_INFO, or stolen=try to go on without",
			strerror(vm->stolen_errno));
}
