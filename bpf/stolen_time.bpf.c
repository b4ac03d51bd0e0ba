// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stolen time: kvm_update_stolen_time(vcpu), after the vCPU got a CPU, if its guest asked for it.
 *
 * A kprobe and a kretprobe, each a BRK exception, once per scheduling in of such a vCPU.
 */
#include "trap.h"

int on_stolen_time(struct pt_regs *ctx)
{
	struct lpt_slot *slot = slot_of_current();

	if (!slot)
		return 0;
	if (slot->steal_ns)
		COUNT_LOSS(steals_untimed);
	slot->steal_before = last_steal(slot->vcpu);
	slot->steal_ns = bpf_ktime_get_ns();
	return 0;
}

int on_stolen_time_return(struct pt_regs *ctx)
{
	struct lpt_slot *slot = slot_of_current();
	u64 steal;

	if (!slot || !slot->steal_ns)
		return 0;
	steal = last_steal(slot->vcpu);
	slot->sequence++;
	ORDER();
	slot->stolen.updates.count++;
	slot->stolen.updates.ns += bpf_ktime_get_ns() - slot->steal_ns;
	/* Another thread, which has waited less: KVM takes the difference off what it publishes. */
	if (steal > slot->steal_before)
		slot->stolen.stolen_ns += steal - slot->steal_before;
	ORDER();
	slot->sequence++;
	slot->steal_ns = 0;
	return 0;
}
