// SPDX-License-Identifier: GPL-2.0-only
/* What each vCPU should have counted, and whether it did. */
#include <errno.h>
#include <string.h>

#include "labvmm.h"

unsigned int vcpu_slots(const struct vcpu *vcpu)
{
	return SLOT_FIRST + vcpu->guest->n_ops;
}

/* One LPT attribute without the other: KVM_RUN has to refuse such a VM. */
static bool is_refused(const struct vm *vm)
{
	return vm->spec->lpt == LPT_IPA_ONLY || vm->spec->lpt == LPT_FREQ_ONLY;
}

/* The call after a PV_TIME_FEATURES that said yes; a host that took the attribute must say so. */
static uint64_t expected_second(const struct guest_op *features, bool accepted)
{
	return accepted || (features->count && features->answer == 0);
}

/* Those that it was to do on this host; without an end, or saved before it, those that it did. */
static uint64_t expected_rounds(const struct vcpu *vcpu)
{
	uint64_t rounds = vcpu->vm->guest->rounds;

	return (rounds && !vcpu->parked ? rounds : vcpu->guest->rounds) - vcpu->rounds_before;
}

static uint64_t expected_own(const struct vcpu *vcpu, unsigned int slot)
{
	const struct guest_op *ops = vcpu->guest->ops;
	const struct vm *vm = vcpu->vm;
	bool boot = vcpu->index == 0;
	bool first = !vm->state; /* what it asks for, it asks for on its first host */
	bool lpt = first && boot && vm->spec->lpt != LPT_OFF;
	bool stolen = first && vm->spec->stolen != STOLEN_OFF;

	switch (slot) {
	case SLOT_CPU_ON:
		return first && boot ? vm->spec->vcpus - 1 : 0;
	case SLOT_CPU_OFF:
		return !boot && !vcpu->parked;
	case SLOT_SYSTEM_OFF:
		return boot && !vcpu->parked;
	case SLOT_EMPTY:
		return vcpu->timings ? EMPTY_TIMINGS * expected_rounds(vcpu) : 0;
	case SLOT_LPT_FEATURES:
		return lpt;
	case SLOT_LPT:
		return lpt && expected_second(&ops[SLOT_LPT_FEATURES], !vm->lpt_errno);
	case SLOT_ST_FEATURES:
		return stolen;
	}
	return stolen && expected_second(&ops[SLOT_ST_FEATURES], !vm->stolen_errno);
}

uint64_t expected_count(const struct vcpu *vcpu, unsigned int slot)
{
	if (is_refused(vcpu->vm))
		return 0;
	if (slot < SLOT_FIRST)
		return expected_own(vcpu, slot);
	return vcpu->guest->ops[slot].per_round * expected_rounds(vcpu);
}

static int check_counts(const struct vcpu *vcpu)
{
	int ret = 0;

	for (unsigned int slot = 0; slot < vcpu_slots(vcpu); slot++) {
		const struct guest_op *op = &vcpu->guest->ops[slot];
		uint64_t expected = expected_count(vcpu, slot);
		char text[64];

		if (op->count != expected)
			ret = vm_error(vcpu->vm, "vcpu %u: %s: counted %lu, expected %lu",
				       vcpu->index, op_label(op, text, sizeof(text)), op->count,
				       expected);
	}
	return ret;
}

static int check_run_errno(const struct vcpu *vcpu)
{
	int expected = is_refused(vcpu->vm) ? EINVAL : 0;

	if (vcpu->run_errno == expected)
		return 0;
	if (!vcpu->run_errno)
		return vm_error(vcpu->vm, "vcpu %u: KVM_RUN took a VM with one LPT attribute only",
				vcpu->index);
	return vm_error(vcpu->vm, "vcpu %u: KVM_RUN failed: %s", vcpu->index,
			strerror(vcpu->run_errno));
}

/* Anything that ended this vCPU before its time. */
static int check_end(const struct vcpu *vcpu)
{
	if (vcpu->faulted)
		return vm_error(vcpu->vm,
				"vcpu %u: exception in the guest: ESR_EL1 0x%lx, ELR_EL1 0x%lx, "
				"FAR_EL1 0x%lx",
				vcpu->index, vcpu->esr, vcpu->elr, vcpu->far);
	if (vcpu->unknown_exit)
		return vm_error(vcpu->vm, "vcpu %u: unexpected exit from KVM_RUN, reason %u",
				vcpu->index, vcpu->unknown_exit);
	return check_run_errno(vcpu);
}

/* The second signal finds some VMs at their end already. */
static bool was_cut_short(const struct vm *vm)
{
	const struct vcpu *boot = &vm->vcpus[0];

	return vm->aborted && !is_refused(vm) && !boot->parked &&
	       !boot->guest->ops[SLOT_SYSTEM_OFF].count;
}

static int check_vm(const struct vm *vm)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (check_end(&vm->vcpus[i]) < 0)
			ret = -1;
	if (ret < 0)
		return ret;
	if (was_cut_short(vm))
		return vm_error(vm, "ended by a second signal, before the end of its round");
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (check_counts(&vm->vcpus[i]) < 0 || clock_check(&vm->vcpus[i]) < 0)
			ret = -1;
	return ret;
}

int truth_check(const struct vm *vms, unsigned int n_vms)
{
	int ret = 0;

	for (unsigned int i = 0; i < n_vms; i++)
		if (check_vm(&vms[i]) < 0)
			ret = -1;
	return ret;
}
