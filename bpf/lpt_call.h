/* SPDX-License-Identifier: GPL-2.0-only */
/* What a call of kvm_update_lpt_time has given the guest, once it is known to have done so. */
#ifndef LPTTRACE_LPT_CALL_H
#define LPTTRACE_LPT_CALL_H

#include "vcpu.h"
#include "event.h"

static __always_inline void publish(struct lpt_vm *vm, struct lpt_call *call, u64 now)
{
	__sync_fetch_and_add(&vm->sequence, 1);
	vm->published = call->structure;
	vm->previous = call->previous;
	vm->published_ns = now;
	__sync_fetch_and_add(&vm->sequence, 1);
}

static __always_inline void tell_update(struct lpt_call *call, int ret)
{
	/* Bit 0 aside, a number of 0 means that no host has published anything there. */
	u64 before = call->previous.sequence_number >> 1 ? call->previous.native_freq : 0;
	struct lpt_event event = {};

	event.vm = call->vm;
	event.error = ret < 0 ? -ret : 0;
	event.has_value = call->wrote;
	event.value = before << 32 | call->structure.native_freq;
	tell(LPT_EVENT_UPDATE, &event);
}

/*
 * The thread enters a guest: a call of it that is open has returned 0. The kretprobe had no
 * instance for its return, as they are few and held by every vCPU that waits for another's update.
 * The call is not counted, for want of a time, but what it has published is what the guest has.
 */
static __always_inline void settle_call(u32 tid)
{
	struct lpt_call *call = lpt_calls.lookup(&tid);
	struct lpt_vm *vm;

	if (!call)
		return;
	COUNT_LOSS(updates_untimed);
	vm = vms.lookup(&call->vm);
	if (vm && call->wrote) {
		publish(vm, call, bpf_ktime_get_ns());
		tell_update(call, 0);
	}
	lpt_calls.delete(&tid);
}

#endif
