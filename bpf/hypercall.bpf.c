// SPDX-License-Identifier: GPL-2.0-only
/* Hypercalls by SMCCC function. */
#include "trap.h"

#define FUNCTION_CASE(id, name) \
	case id:                \
		return LPT_HVC_##name;

/* A guest chooses the id; what is not known shares one class. A tree of compares, no table. */
static __always_inline u32 function_class(u32 id)
{
	switch (id) {
		LPT_FUNCTION_IDS(FUNCTION_CASE)
	}
	return LPT_HVC_UNKNOWN;
}

/*
 * kvm_hvc_arm64(vcpu_pc, r0, imm), before the call is handled. Raw tracepoint; one hash look-up,
 * no clock. The function id is w0, the low half of r0.
 */
int on_kvm_hvc(struct bpf_raw_tracepoint_args *ctx)
{
	struct lpt_slot *slot = slot_of_current();
	u32 id = ctx->args[1];
	u32 class;

	if (!slot) {
		COUNT_LOSS(hypercalls);
		return 0;
	}
	class = function_class(id);
	if (class == LPT_HVC_UNKNOWN)
		slot->last_unknown = id;
	name_trap(slot, class);
	return 0;
}
