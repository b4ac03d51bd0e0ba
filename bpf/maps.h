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
/* This thread has not been seen to run a vCPU. */
#define NOT_A_VCPU 0xfffffffe

struct vcpu_key {
	u32 vm;
	u32 vcpu_id;
};

/* A call of kvm_update_lpt_time that this thread is in. */
struct lpt_call {
	u64 start_ns;
	u32 vm;
	u32 wrote;  /* `structure` is what it has written to the guest */
	u64 buffer; /* where the structure is being read to, or 0 */
	struct lpt_structure structure;
	struct lpt_structure previous;
};

/* A call of kvm_arch_vm_ioctl about an attribute that this thread is in. */
struct attr_call {
	u32 vm;
	u32 kind; /* enum lpt_call_kind */
	u32 group;
	u32 reserved;
	u64 attribute;
	u64 address;
};

/*
 * bcc writes code that prints and parses a map's values, member by member, array element by array
 * element: for a slot as it is that takes it 2 seconds.
 */
struct slot_bytes {
	char bytes[sizeof(struct lpt_slot)];
};

BPF_F_TABLE("array", u32, struct slot_bytes, slots, MAX_VCPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpt_vm, vms, MAX_VCPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpt_losses, losses, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpt_room, room, 1, BPF_F_MMAPABLE);

/*
 * The indices that are free: filled by the loader at the start, and by the agent with what dead VMs
 * leave. Hashes, not queues: an agent that takes over after another was killed can look and mend.
 */
BPF_HASH(free_slots, u32, u32, MAX_VCPUS);
BPF_HASH(free_vms, u32, u32, MAX_VCPUS);

/* What leads there is larger: vCPUs and VMs that were refused are remembered too. */
#define REMEMBERED (MAX_VCPUS * 4 + 2048)
BPF_HASH(tids, u32, u32, REMEMBERED);
BPF_HASH(vcpus, struct vcpu_key, u32, REMEMBERED);
BPF_HASH(kvms, u64, u32, REMEMBERED);
BPF_HASH(lpt_calls, u32, struct lpt_call, MAX_VCPUS + 256);
BPF_HASH(attr_calls, u32, struct attr_call, 256);
BPF_HASH(events, struct lpt_event_key, struct lpt_event, 1024);

static __always_inline struct lpt_slot *slot_at(u32 *index)
{
	return (struct lpt_slot *)slots.lookup(index);
}

static __always_inline struct lpt_losses *all_losses(void)
{
	u32 only = 0;

	return losses.lookup(&only);
}

static __always_inline struct lpt_room *all_room(void)
{
	u32 only = 0;

	return room.lookup(&only);
}

#define COUNT_LOSS(field)                                      \
	do {                                                   \
		struct lpt_losses *all_ = all_losses();        \
		if (all_)                                      \
			__sync_fetch_and_add(&all_->field, 1); \
	} while (0)

#endif
