/* SPDX-License-Identifier: GPL-2.0-only */
/* From a thread to the slot of the vCPU it runs, and how vCPUs come by slots. */
#ifndef LPTTRACE_VCPU_H
#define LPTTRACE_VCPU_H

#include "compat.h"
#include "maps.h"

/* The slot of the vCPU this thread runs; NULL if it has none. */
static __always_inline struct lpt_slot *slot_of_current(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	u32 *index = tids.lookup(&tid);

	return index ? slots.lookup(index) : NULL;
}

/* A record for a VM that has none. Two of its vCPUs may come at once: the first to insert wins. */
static __always_inline u32 take_vm(u64 kvm, bool known)
{
	u32 index = NO_SLOT, *winner;
	struct lpt_vm *vm;

	if (free_vms.pop(&index)) {
		index = NO_SLOT;
		if (!known && !kvms.insert(&kvm, &index))
			COUNT_LOSS(no_vm);
		return NO_SLOT;
	}
	vm = vms.lookup(&index);
	if (!vm)
		return NO_SLOT;
	vm->kvm = kvm;
	vm->seen_ns = bpf_ktime_get_ns();
	vm->tgid = bpf_get_current_pid_tgid() >> 32;
	if (known)
		kvms.delete(&kvm);
	if (kvms.insert(&kvm, &index)) {
		free_vms.push(&index, 0);
		winner = kvms.lookup(&kvm);
		return winner ? *winner : NO_SLOT;
	}
	vm->state = LPT_ALIVE;
	return index;
}

/* The index of a VM's record; NO_SLOT if there is none for it. */
static __always_inline u32 vm_of(u64 kvm)
{
	u32 *known = kvms.lookup(&kvm);

	if (known && *known != NO_SLOT)
		return *known;
	return take_vm(kvm, known != NULL);
}

static __always_inline u32 take_slot(struct vcpu_key *key, u64 vcpu)
{
	struct lpt_slot *slot;
	u32 index;

	if (free_slots.pop(&index))
		return NO_SLOT;
	slot = slots.lookup(&index);
	if (!slot)
		return NO_SLOT;
	slot->vcpu = vcpu;
	slot->vm = key->vm;
	slot->vcpu_id = key->vcpu_id;
	slot->taken_ns = bpf_ktime_get_ns();
	slot->state = LPT_ALIVE;
	return index;
}

static __always_inline void give_slot_back(u32 index)
{
	struct lpt_slot *slot = slots.lookup(&index);

	if (!slot)
		return;
	slot->state = LPT_FREE;
	slot->vcpu = 0;
	free_slots.push(&index, 0);
}

/* The index of a vCPU's slot. One that is refused is remembered, so that it is counted once. */
static __always_inline u32 slot_of(struct vcpu_key *key, u64 vcpu)
{
	u32 *known = vcpus.lookup(key);
	bool counted = known != NULL;
	u32 index;

	if (known && *known != NO_SLOT)
		return *known;
	index = take_slot(key, vcpu);
	if (vcpus.update(key, &index)) {
		give_slot_back(index);
		COUNT_LOSS(not_remembered);
		return NO_SLOT;
	}
	if (index == NO_SLOT && !counted)
		COUNT_LOSS(no_slot);
	return index;
}

/* The vCPU has a new thread: the old one's way to the slot must not outlive it. */
static __always_inline void move_slot(u32 index, u32 tid)
{
	struct lpt_slot *slot = slots.lookup(&index);
	u32 *old_index, old;

	if (!slot || slot->tid == tid)
		return;
	old = slot->tid;
	old_index = tids.lookup(&old);
	if (old_index && *old_index == index)
		tids.delete(&old);
	slot->tid = tid;
}

/* From now on this thread runs this vCPU. Returns where the index of its slot is, or NULL. */
static __always_inline u32 *bind_vcpu(u64 vcpu, u32 tid)
{
	struct vcpu_key key = {};
	u32 index = NO_SLOT;
	u64 kvm = 0;

	bpf_probe_read_kernel(&kvm, sizeof(kvm), (void *)(vcpu + KVM_VCPU_KVM));
	bpf_probe_read_kernel(&key.vcpu_id, sizeof(key.vcpu_id), (void *)(vcpu + KVM_VCPU_ID));
	key.vm = vm_of(kvm);
	if (key.vm != NO_SLOT) {
		index = slot_of(&key, vcpu);
		move_slot(index, tid);
	}
	if (tids.update(&tid, &index))
		COUNT_LOSS(not_remembered);
	return tids.lookup(&tid);
}

/* True if the slot is this vCPU's still: its VM has not been destroyed and the memory reused. */
static __always_inline bool slot_is_of(struct lpt_slot *slot, u64 vcpu)
{
	u32 index = slot->vm;
	struct lpt_vm *vm;

	if (slot->vcpu != vcpu)
		return false;
	vm = vms.lookup(&index);
	return vm && vm->state == LPT_ALIVE;
}

#endif
