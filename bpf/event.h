/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens rarely, told one by one. */
#ifndef LPTTRACE_EVENT_H
#define LPTTRACE_EVENT_H

#include "maps.h"

static __always_inline void tell(u32 kind, struct lpt_event *event)
{
	struct lpt_event_key key = {};

	key.ns = bpf_ktime_get_ns();
	key.tid = bpf_get_current_pid_tgid();
	key.kind = kind;
	if (events.insert(&key, event))
		COUNT_LOSS(events);
}

#endif
