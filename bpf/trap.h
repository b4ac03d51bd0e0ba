/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a trap in its vCPU's slot: begun at kvm_exit, named by its handler, closed at
 * kvm_entry.
 */
#ifndef LPTTRACE_TRAP_H
#define LPTTRACE_TRAP_H

#include "vcpu.h"

/* The compiler must not move stores across; see the reader in lpttrace/maps.py. */
#define ORDER() asm volatile("" ::: "memory")

static __always_inline void name_trap(struct lpt_slot *slot, u32 class)
{
	if (slot->exit_ns)
		slot->pending = class;
	else
		slot->unpaired++;
}

static __always_inline void close_trap(struct lpt_slot *slot)
{
	u32 class = slot->pending, outcome = slot->outcome;
	struct lpt_account *account;

	if (class >= LPT_CLASS_COUNT || outcome >= LPT_OUTCOME_COUNT)
		return;
	account = &slot->cells[class].by_outcome[outcome];
	slot->sequence++;
	ORDER();
	account->count++;
	account->ns += bpf_ktime_get_ns() - slot->exit_ns;
	slot->pending = LPT_CLASS_NONE;
	ORDER();
	slot->sequence++;
}

#endif
