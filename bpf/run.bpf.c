// SPDX-License-Identifier: GPL-2.0-only
/*
 * The run loop: where traps begin and end.
 *
 * The service time of a trap is from kvm_exit to kvm_entry of its vCPU. The world switch is
 * outside.
 */
#include "trap.h"

/* This thread's vCPU was in the guest when we came, and has not been scheduled since. */
static __always_inline struct lpt_slot *adopt(u64 thread)
{
	u64 vcpu = runs_vcpu(thread) ? 0 : running_vcpu();

	return vcpu ? bind_vcpu(vcpu, thread) : NULL;
}

/* Every exit. Raw tracepoint; the clock if the trap may be one of ours. */
int on_kvm_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct lpt_slot *slot = slot_of_thread(thread);
	u32 ec = ctx->args[1];

	if (!slot)
		slot = adopt(thread);
	/* From HVC32 to SYS64: SMC, which is between, is never named. */
	if (slot && EXIT_CODE(ctx->args[0]) == ARM_EXCEPTION_TRAP &&
	    ec - ESR_EC_HVC32 <= ESR_EC_SYS64 - ESR_EC_HVC32) {
		slot->outcome = LPT_SERVED;
		slot->exit_ns = bpf_ktime_get_ns();
	}
	return 0;
}

/* Every entry. Raw tracepoint; the clock if something ends here. */
int on_kvm_entry(struct bpf_raw_tracepoint_args *ctx)
{
	struct lpt_slot *slot = slot_of_current();

	/* `work` and `pending` are neighbours: one load, and mostly 0. */
	if (slot && *(u64 *)&slot->work)
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
