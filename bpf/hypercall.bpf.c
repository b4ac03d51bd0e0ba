// SPDX-License-Identifier: GPL-2.0-only
/* Hypercalls by SMCCC function. */
#include "trap.h"

/* A case of the ids that begin with `first`; a value that there cannot be for all others. */
#define CASE_OF(first, id, name)                    \
	case (id) >> 24 == (first) ? (id)&0xffffff: \
		1ULL << 32 | (id) : return LPT_HVC_##name;

#define CASE_80(id, name) CASE_OF(0x80, id, name)
#define CASE_84(id, name) CASE_OF(0x84, id, name)
#define CASE_86(id, name) CASE_OF(0x86, id, name)
#define CASE_95(id, name) CASE_OF(0x95, id, name)
#define CASE_C4(id, name) CASE_OF(0xc4, id, name)
#define CASE_C5(id, name) CASE_OF(0xc5, id, name)
#define CASE_C6(id, name) CASE_OF(0xc6, id, name)

#define BRANCH(first)                                  \
	case 0x##first:                                \
		switch (rest) {                        \
			LPT_FUNCTION_IDS(CASE_##first) \
		}                                      \
		break;

/*
 * A guest chooses the id; what is not known shares one class. A tree of compares, no table, in two
 * steps: a compare with a small constant is two instructions, with a whole id five.
 */
static __always_inline u32 function_class(u32 id)
{
	u64 first = id >> 24, rest = id & 0xffffff;

	switch (first) {
		BRANCH(80)
		BRANCH(84)
		BRANCH(86)
		BRANCH(95)
		BRANCH(C4)
		BRANCH(C5)
		BRANCH(C6)
	}
	return LPT_HVC_UNKNOWN;
}

/*
 * kvm_hvc_arm64(vcpu_pc, r0, imm), before the call is handled. Raw tracepoint; the clock. The
 * function id is w0, the low half of r0.
 */
int on_kvm_hvc(struct bpf_raw_tracepoint_args *ctx)
{
	struct lpt_slot *slot = slot_or_adopt(bpf_get_current_pid_tgid());
	u32 id = ctx->args[1];
	u32 class;

	if (!slot) {
		COUNT_LOSS(hypercalls);
		return 0;
	}
	class = function_class(id);
	if (class == LPT_HVC_UNKNOWN)
		slot->last_unknown = id;
	else if (class >= LPT_HVC_PV_TIME_FEATURES && class <= LPT_HVC_PV_TIME_LPT)
		note_question(slot);
	begin_trap(slot, class);
	return 0;
}
