/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps. The agent maps slots, vms and losses into its memory and reads them without a system
 * call; the others lead to them.
 */
#ifndef LPTTRACE_MAPS_H
#define LPTTRACE_MAPS_H

#include "lpttrace_abi.h"

/* In place of an index: none was free. Kept, so that it is not asked for at every trap. */
#define NO_SLOT 0xffffffff

struct vcpu_key {
	u32 vm;
	u32 vcpu_id;
};

/* A call of kvm_update_lpt_time that this thread is in. */
struct lpt_call {
	u64 start_ns;
	u32 vm;
	u32 wrote; /* `structure` is what it has written to the guest */
	struct lpt_structure structure;
};

BPF_F_TABLE("array", u32, struct lpt_slot, slots, MAX_VCPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpt_vm, vms, MAX_VCPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpt_losses, losses, 1, BPF_F_MMAPABLE);

/* Filled by the agent at the start, and with what dead VMs leave. */
BPF_QUEUE(free_slots, u32, MAX_VCPUS);
BPF_QUEUE(free_vms, u32, MAX_VCPUS);

/* What leads there is larger: vCPUs and VMs that were refused are remembered too. */
#define REMEMBERED (MAX_VCPUS * 4 + 4096)
BPF_HASH(tids, u32, u32, REMEMBERED);
BPF_HASH(vcpus, struct vcpu_key, u32, REMEMBERED);
BPF_HASH(kvms, u64, u32, REMEMBERED);
BPF_HASH(lpt_calls, u32, struct lpt_call, MAX_VCPUS + 1024);

static __always_inline struct lpt_losses *all_losses(void)
{
	u32 only = 0;

	return losses.lookup(&only);
}

#define COUNT_LOSS(field)                                      \
	do {                                                   \
		struct lpt_losses *all_ = all_losses();        \
		if (all_)                                      \
			__sync_fetch_and_add(&all_->field, 1); \
	} while (0)

#endif
