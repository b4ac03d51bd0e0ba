// SPDX-License-Identifier: GPL-2.0-only
/* Trapped accesses to timer registers, by register and direction. */
#include "trap.h"

#define REGISTER_CASE(name, op0, op1, crn, crm, op2) \
	case ISS_SYSREG(op0, op1, crn, crm, op2):    \
		return LPT_READ_##name;

/* The class of reading the register; LPT_CLASS_NONE if it is no timer register. */
static __always_inline u32 register_class(u32 esr)
{
	switch (esr & ISS_SYSREG_MASK) {
		LPT_TIMER_REGISTERS(REGISTER_CASE)
	}
	return LPT_CLASS_NONE;
}

/*
 * kvm_handle_sys_reg(esr), for every trapped MRS and MSR of an AArch64 guest. Raw tracepoint; no
 * look-up and no clock unless it is a timer register.
 */
int on_kvm_handle_sys_reg(struct bpf_raw_tracepoint_args *ctx)
{
	u32 esr = ctx->args[0];
	u32 class = register_class(esr);
	struct lpt_slot *slot;

	if (class == LPT_CLASS_NONE)
		return 0;
	slot = slot_or_adopt(bpf_get_current_pid_tgid());
	if (!slot) {
		COUNT_LOSS(timer_traps);
		return 0;
	}
	/* LPT_WRITE_x follows LPT_READ_x. */
	begin_trap(slot, class + !(esr & ISS_READ));
	return 0;
}
