// SPDX-License-Identifier: GPL-2.0-only
/*
 * LPT updates: how often, how long, how they ended, and what the guest was given.
 *
 * All kprobes, each a BRK exception: an update is made once in the life of a VM on a host, and its
 * function called once per vCPU.
 */
#include "lpt_call.h"

#define EINVAL 22
#define EFAULT 14

/* int kvm_update_lpt_time(struct kvm *kvm) begins. */
int on_lpt_update(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct lpt_call call = {};

	call.vm = vm_of(PT_REGS_PARM1(ctx));
	if (call.vm == NO_SLOT)
		return 0;
	call.start_ns = bpf_ktime_get_ns();
	/* That of a call before, which failed unseen: the guest has not been entered since. */
	if (!lpt_calls.delete(&tid))
		COUNT_LOSS(updates_untimed);
	if (lpt_calls.insert(&tid, &call))
		COUNT_LOSS(updates_untimed);
	return 0;
}

/*
 * kvm_read_guest(kvm, gpa, data, len), for any purpose; within an update it is the structure that
 * the host before has published.
 */
int on_read_guest(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct lpt_call *call = lpt_calls.lookup(&tid);

	if (call)
		call->buffer = PT_REGS_PARM4(ctx) < sizeof(call->previous) ? 0 : PT_REGS_PARM3(ctx);
	return 0;
}

int on_read_guest_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct lpt_call *call = lpt_calls.lookup(&tid);

	if (!call || !call->buffer)
		return 0;
	if (!PT_REGS_RC(ctx))
		bpf_probe_read_kernel(&call->previous, sizeof(call->previous),
				      (void *)call->buffer);
	call->buffer = 0;
	return 0;
}

/* kvm_write_guest(kvm, gpa, data, len), for any purpose; within an update it is the structure. */
int on_write_guest(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct lpt_call *call = lpt_calls.lookup(&tid);

	if (!call || PT_REGS_PARM4(ctx) < sizeof(call->structure))
		return 0;
	call->wrote = !bpf_probe_read_kernel(&call->structure, sizeof(call->structure),
					     (void *)PT_REGS_PARM3(ctx));
	return 0;
}

static __always_inline u32 update_result(int ret, u32 wrote)
{
	switch (ret) {
	case 0:
		return wrote ? LPT_UPDATE_PUBLISHED : LPT_UPDATE_NOTHING;
	case -EINVAL:
		return LPT_UPDATE_EINVAL;
	case -EFAULT:
		return LPT_UPDATE_EFAULT;
	}
	return LPT_UPDATE_ERROR;
}

static __always_inline void close_update(struct lpt_vm *vm, struct lpt_call *call, int ret)
{
	u32 result = update_result(ret, call->wrote);
	u64 now = bpf_ktime_get_ns();

	if (ret)
		vm->last_error = -ret;
	if (result == LPT_UPDATE_PUBLISHED)
		publish(vm, call, now);
	if (result < LPT_UPDATE_RESULT_COUNT) {
		__sync_fetch_and_add(&vm->updates[result].ns, now - call->start_ns);
		__sync_fetch_and_add(&vm->updates[result].count, 1);
	}
	if (result != LPT_UPDATE_NOTHING)
		tell_update(call, ret);
}

int on_lpt_update_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct lpt_call *call = lpt_calls.lookup(&tid);
	struct lpt_vm *vm;

	if (!call)
		return 0;
	vm = vms.lookup(&call->vm);
	if (vm)
		close_update(vm, call, PT_REGS_RC(ctx));
	lpt_calls.delete(&tid);
	return 0;
}
