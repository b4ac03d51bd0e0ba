// SPDX-License-Identifier: GPL-2.0-only
/* Timer interrupts: how many are made pending for the guest, and how late they reach it. */
#include "trap.h"

#define VIRTUAL_TIMER_INTID 27

#define TIMER_CASE(name, intid) \
	case intid:             \
		return LPT_TIMER_##name;

static __always_inline u32 timer_of_intid(u32 intid)
{
	switch (intid) {
		LPT_TIMERS(TIMER_CASE)
	}
	return LPT_TIMER_OTHER;
}

/* Atomic: the handler of an hrtimer may count on another CPU. */
static __always_inline void count_interrupt(struct lpt_slot *slot, u64 timer)
{
	AS_INDEX(timer);
	if (timer < LPT_TIMER_COUNT)
		__sync_fetch_and_add(&slot->interrupts[timer].delivered, 1);
}

static __always_inline bool is_write(u32 class)
{
	return class >= LPT_READ_CNTPCT_EL0 && (class - LPT_READ_CNTPCT_EL0) % 2;
}

/*
 * True if the deadline that has passed is the one that the timer's hrtimer was last started for:
 * KVM starts none for a deadline that had passed when the guest wrote it. While a write is served,
 * that may also be one that passed before the guest could go on.
 */
static __always_inline bool deadline_known(struct lpt_slot *slot, u64 timer, u64 expired)
{
	if (is_write(slot->pending))
		return expired >= slot->begin_ns && expired <= bpf_ktime_get_ns();
	AS_INDEX(timer);
	return timer < LPT_TIMER_OTHER && expired >= slot->lowered_ns[timer];
}

/* An interrupt of an emulated timer, its hrtimer last to expire then; not if its line is up. */
static __always_inline void raise_emulated(struct lpt_slot *slot, u64 timer, u64 expired)
{
	u32 bit = 1 << (timer & 31);

	if (slot->raised & bit)
		return;
	slot->raised |= bit;
	count_interrupt(slot, timer);
	if (deadline_known(slot, timer, expired)) {
		slot->deadline_ns = expired;
		slot->work |= LPT_DEADLINE;
	} else if (is_write(slot->pending)) {
		AS_INDEX(timer);
		if (timer < LPT_TIMER_COUNT)
			__sync_fetch_and_add(&slot->interrupts[timer].overdue, 1);
	}
}

static __always_inline void lower(struct lpt_slot *slot, u64 timer)
{
	u32 bit = 1 << (timer & 31);

	if (!(slot->raised & bit))
		return;
	slot->raised &= ~bit;
	AS_INDEX(timer);
	if (timer < LPT_TIMER_OTHER)
		slot->lowered_ns[timer] = bpf_ktime_get_ns();
}

/* True if KVM looks at the line of a timer that hardware fires: it is up, but may have been. */
static __always_inline bool lines_are_looked_at(struct lpt_slot *slot)
{
	return slot->work & LPT_LOADED ||
	       (access_looks_at_lines() && slot->pending >= LPT_READ_CNTPCT_EL0);
}

/* True if the guest is writing a register of this timer: that it traps says who fires the timer. */
static __always_inline bool is_written(struct lpt_slot *slot, u32 timer)
{
	return timer == LPT_TIMER_PHYSICAL && slot->pending >= LPT_READ_CNTP_TVAL_EL0 &&
	       slot->pending <= LPT_WRITE_CNTP_CVAL_EL0;
}

static __always_inline void raise(struct lpt_slot *slot, u32 timer)
{
	u64 expired = timer < LPT_TIMER_OTHER ? hrtimer_expiry(slot->vcpu, timer) : 0;

	if (expired || is_written(slot, timer))
		raise_emulated(slot, timer, expired);
	else if (!lines_are_looked_at(slot) || !had_fired(slot->vcpu, timer))
		count_interrupt(slot, timer);
}

/*
 * kvm_timer_update_irq(vcpu_id, intid, level), when KVM sets a timer's line. Raw tracepoint, on the
 * vCPU's thread or in an interrupt on its CPU. What is no new interrupt: an emulated timer's line
 * is raised again whenever the vCPU gets a CPU while it is up, and the line of a timer that
 * hardware fires is looked at then, and by some kernels when an access to another timer traps.
 */
int on_timer_update_irq(struct bpf_raw_tracepoint_args *ctx)
{
	u32 level = ctx->args[2], intid = ctx->args[1];
	struct lpt_slot *slot;
	u64 thread;

	/* Hardware fires the virtual timer; that its line is down is told at every trapped access.
	 */
	if (!level && intid == VIRTUAL_TIMER_INTID)
		return 0;
	thread = bpf_get_current_pid_tgid();
	slot = slot_or_adopt(thread);
	if (!slot && level && runs_vcpu(thread))
		COUNT_LOSS(timer_interrupts);
	if (!slot || slot->vcpu_id != (u32)ctx->args[0] || slot->work & LPT_FOREIGN)
		return 0;
	if (level)
		raise(slot, timer_of_intid(intid));
	else
		lower(slot, timer_of_intid(intid));
	return 0;
}

/*
 * kvm_timer_hrtimer_expire(context): an emulated timer's deadline; kvm_timer_update_irq follows.
 * Raw tracepoint, in an interrupt. With nohz_full it may be on a CPU that runs another vCPU, or
 * none: then it is counted here.
 */
int on_timer_expire(struct bpf_raw_tracepoint_args *ctx)
{
	u64 context = ctx->args[0], vcpu = vcpu_of_timer(context);
	u64 thread = bpf_get_current_pid_tgid();
	/* The idle thread is 0, as is the thread of a slot that nobody has. */
	struct lpt_slot *slot = thread ? slot_of_thread(thread) : NULL;
	u32 timer;

	if (!vcpu || (slot && slot->vcpu == vcpu))
		return 0;
	if (slot)
		slot->work |= LPT_FOREIGN;
	slot = slot_of_vcpu(vcpu);
	if (!slot)
		return 0;
	timer = timer_of_context(vcpu, context);
	if (timer < LPT_TIMER_OTHER)
		raise_emulated(slot, timer, hrtimer_expiry(vcpu, timer));
	return 0;
}
