// SPDX-License-Identifier: GPL-2.0-only
/*
 * The run loop: where traps end, and what came between.
 *
 * Not where they begin: kvm_exit would cost every exit a program, and what is between it and the
 * handler is not what differs from one trap to another.
 */
#include "lpt_call.h"
#include "trap.h"

/* Every entry. Raw tracepoint; the clock if something ends here. */
int on_kvm_entry(struct bpf_raw_tracepoint_args *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct lpt_slot *slot = slot_or_adopt(thread);

	/* `work` and `pending` are neighbours: one load, and mostly 0. */
	if (!slot || !*(u64 *)&slot->work)
		return 0;
	if (slot->work & LPT_LOADED)
		settle_call(thread);
	close_all(slot, slot->pending, slot->work);
	return 0;
}

/* Every return of KVM_RUN. Raw tracepoint. */
int on_kvm_userspace_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct lpt_slot *slot = slot_of_current();

	if (slot)
		slot->outcome = LPT_USERSPACE;
	return 0;
}

/*
 * The end of a wait that the guest asked for (WFI, CPU_SUSPEND). Raw tracepoint. A wait that KVM
 * polls through does not lose the CPU, yet it is no cost.
 */
int on_vcpu_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
	struct lpt_slot *slot = slot_of_current();

	if (slot && slot->outcome == LPT_SERVED)
		slot->outcome = LPT_SCHEDULED_OUT;
	return 0;
}

/*
 * kvm_arch_vcpu_load(vcpu, cpu), whenever a vCPU's thread gets a CPU, before anything of it runs:
 * which vCPU the thread runs is known from here, and that a trap's service was interrupted.
 * Kprobe: a BRK exception, once per scheduling in.
 */
int on_vcpu_load(struct pt_regs *ctx)
{
	struct lpt_slot *slot = slot_of_current();
	u64 vcpu = PT_REGS_PARM1(ctx);

	if (!slot || !slot_is_of(slot, vcpu))
		slot = bind_vcpu(vcpu, bpf_get_current_pid_tgid());
	else if (slot->outcome == LPT_SERVED)
		slot->outcome = LPT_SCHEDULED_OUT;
	if (slot)
		slot->work |= LPT_LOADED;
	return 0;
}

/* kvm_arch_destroy_vm(kvm): no vCPU of it runs any more. Kprobe, once per VM. */
int on_destroy_vm(struct pt_regs *ctx)
{
	u64 kvm = PT_REGS_PARM1(ctx);
	u32 *index = kvms.lookup(&kvm);
	struct lpt_vm *vm;

	if (!index)
		return 0;
	/* Not there if the VM was refused. */
	vm = vms.lookup(index);
	if (vm)
		vm->state = LPT_DEAD;
	kvms.delete(&kvm);
	return 0;
}
