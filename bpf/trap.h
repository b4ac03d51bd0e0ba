/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a trap in its vCPU's slot: begun and named by its handler, closed at kvm_entry. */
#ifndef LPTTRACE_TRAP_H
#define LPTTRACE_TRAP_H

#include "vcpu.h"
#include "histogram.h"
#include "pv_time.h"

/* The compiler must not move stores across; see the reader in lpttrace/maps.py. */
#define ORDER() asm volatile("" ::: "memory")

/* The thread's slot. If it has none: its vCPU may have been in the guest when we came, and not been
 * scheduled since.
 */
static __always_inline struct lpt_slot *slot_or_adopt(u64 thread)
{
	struct lpt_slot *slot = slot_of_thread(thread);
	u64 vcpu;

	if (slot || runs_vcpu(thread))
		return slot;
	vcpu = running_vcpu();
	return vcpu ? bind_vcpu(vcpu, thread) : NULL;
}

/* The trap before this one has not ended as far as we saw. It stays counted, but has no time. */
static __always_inline void lose_end(struct lpt_slot *slot, u64 class)
{
	AS_INDEX(class);
	if (class >= LPT_CLASS_COUNT)
		return;
	slot->sequence++;
	ORDER();
	slot->cells[class].by_outcome[LPT_SCHEDULED_OUT].count++;
	slot->unpaired++;
	slot->pending = LPT_CLASS_NONE;
	ORDER();
	slot->sequence++;
}

static __always_inline void begin_trap(struct lpt_slot *slot, u32 class)
{
	if (slot->pending)
		lose_end(slot, slot->pending);
	slot->outcome = LPT_SERVED;
	slot->pending = class;
	slot->begin_ns = bpf_ktime_get_ns();
}

/*
 * First the count, then the sum, then, by who calls this, the histogram: whatever a reader meets in
 * between does not add up.
 */
static __always_inline void add(struct lpt_account *account, u64 ns)
{
	account->count++;
	ORDER();
	account->ns += ns;
	ORDER();
}

static __always_inline void close_trap(struct lpt_slot *slot, u64 class, u64 now)
{
	u64 ns = now - slot->begin_ns, outcome = slot->outcome;
	struct lpt_cell *cell;

	if (class >= LPT_CLASS_COUNT)
		return;
	cell = &slot->cells[class];
	slot->pending = LPT_CLASS_NONE;
	if (outcome == LPT_SERVED) {
		add(&cell->by_outcome[LPT_SERVED], ns);
		count_in(&slot->service[class], ns);
	} else if (outcome < LPT_OUTCOME_COUNT) {
		add(&cell->by_outcome[outcome], ns);
	}
}

/* A timer interrupt reaches the guest, so late. */
static __always_inline void close_deadline(struct lpt_slot *slot, u64 now)
{
	u64 ns = now > slot->deadline_ns ? now - slot->deadline_ns : 0;

	add(&slot->lateness, ns);
	count_in(&slot->late, ns);
}

/* What ends when the guest goes on. Interrupts are off: nothing else writes the slot. */
static __always_inline void close_all(struct lpt_slot *slot, u64 class, u32 work)
{
	u64 now = bpf_ktime_get_ns();
	u32 sequence = slot->sequence;

	slot->sequence = sequence + 1;
	ORDER();
	if (class)
		close_trap(slot, class, now);
	if (work) {
		if (work & LPT_DEADLINE)
			close_deadline(slot, now);
		if (work & LPT_ASKED)
			note_answer(slot, class);
		slot->work = 0;
	}
	ORDER();
	slot->sequence = sequence + 2;
}

#endif
