/* SPDX-License-Identifier: GPL-2.0-only */
/* What guests ask about pvtime, and what they are told. */
#ifndef LPTTRACE_PV_TIME_H
#define LPTTRACE_PV_TIME_H

#include "compat.h"

#define PV_TIME_ST_ID  0xC5000021
#define PV_TIME_LPT_ID 0xC5000022

static __always_inline u32 question_of(struct lpt_slot *slot, u32 class)
{
	if (class == LPT_HVC_PV_TIME_ST)
		return LPT_ASKED_ST;
	if (class == LPT_HVC_PV_TIME_LPT)
		return LPT_ASKED_LPT;
	if (slot->feature == PV_TIME_ST_ID)
		return LPT_ASKED_FEATURES_ST;
	if (slot->feature == PV_TIME_LPT_ID)
		return LPT_ASKED_FEATURES_LPT;
	return LPT_QUESTION_COUNT;
}

/* At the hypercall: PV_TIME_FEATURES asks about x1, which its answer overwrites. */
static __always_inline void note_question(struct lpt_slot *slot)
{
	slot->feature = guest_register(slot->vcpu, 1);
	slot->work |= LPT_ASKED;
}

/*
 * At the entry that ends such a call: x0 is what the guest is told, whoever decided it: the
 * function, a filter before it, or the VMM. A few times in the life of a guest.
 */
static __always_inline void note_answer(struct lpt_slot *slot, u32 class)
{
	u32 question = question_of(slot, class);
	struct lpt_answers *answers;

	if (question >= LPT_QUESTION_COUNT)
		return;
	answers = &slot->answers[question];
	answers->last = guest_register(slot->vcpu, 0);
	answers->asked++;
	if ((s64)answers->last < 0)
		answers->refused++;
}

#endif
