/* SPDX-License-Identifier: GPL-2.0-only */
/* From a thread to the slot of the vCPU it runs, and how vCPUs come by slots. */
#ifndef LPTTRACE_VCPU_H
#define LPTTRACE_VCPU_H

#include "compat.h"
#include "maps.h"

/*
 * The slot of the vCPU this thread runs; NULL if it has none. thread is its pid and tid. Most slots
 * are where the tid says, which takes an array's look-up, a few instructions without a call; the
 * others are found by the hash.
 */
static __always_inline struct lpt_slot *slot_of_thread(u64 thread)
{
	u32 place = (u32)thread % MAX_VCPUS, tid, *index;
	struct lpt_slot *slot = slot_at(&place);

	if (slot && slot->thread == thread)
		return slot;
	tid = thread;
	index = tids.lookup(&tid);
	return index ? slot_at(index) : NULL;
}

static __always_inline struct lpt_slot *slot_of_current(void)
{
	return slot_of_thread(bpf_get_current_pid_tgid());
}

/* True if this thread runs a vCPU that was refused a slot, or has another's for the moment. */
static __always_inline bool runs_vcpu(u64 thread)
{
	u32 tid = thread;

	return tids.lookup(&tid) != NULL;
}

/* The most places that are tried; with more slots, one may be missed when nearly all are taken. */
#define PLACES (MAX_VCPUS < 1024 ? MAX_VCPUS : 1024)

/* True if the index was free and is ours now. Deleting from a hash has one winner. */
static __always_inline bool claim(u32 *index, bool vm)
{
	return vm ? !free_vms.delete(index) : !free_slots.delete(index);
}

/* Takes the free index at a place or the next after it, of a VM's record or of a slot. */
static __always_inline u32 take_index(u32 place, bool vm)
{
	struct lpt_room *all = all_room();
	struct lpt_space *space;
	u32 index, tries;
	u64 freed;

	if (!all)
		return NO_SLOT;
	space = vm ? &all->vms : &all->slots;
	freed = space->freed;
	if (space->full_at == freed + 1)
		return NO_SLOT;
	for (tries = 0; tries < PLACES; tries++) {
		/* Not counted up: the verifier must not know more of it at every turn. */
		index = (place + tries) % MAX_VCPUS;
		if (claim(&index, vm))
			return index;
	}
	space->full_at = freed + 1;
	return NO_SLOT;
}

static __always_inline void give_vm_back(u32 index)
{
	struct lpt_room *all = all_room();

	free_vms.update(&index, &index);
	if (all)
		all->vms.full_at = 0;
}

/* A record for a VM that has none. Two of its vCPUs may come at once: the first to insert wins. */
static __always_inline u32 take_vm(u64 kvm, bool known)
{
	u32 index = take_index(kvm >> 12, true), *winner;
	struct lpt_vm *vm;

	if (index == NO_SLOT) {
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
		give_vm_back(index);
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

static __always_inline u32 take_slot(struct vcpu_key *key, u64 vcpu, u32 tid)
{
	u32 index = take_index(tid, false);
	struct lpt_slot *slot = slot_at(&index);

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
	struct lpt_slot *slot = slot_at(&index);
	struct lpt_room *all = all_room();

	if (!slot || !all)
		return;
	slot->state = LPT_FREE;
	slot->vcpu = 0;
	free_slots.update(&index, &index);
	all->slots.full_at = 0;
}

/* The index of a vCPU's slot. One that is refused is remembered, so that it is counted once. */
static __always_inline u32 slot_of(struct vcpu_key *key, u64 vcpu, u32 tid)
{
	u32 *known = vcpus.lookup(key);
	bool counted = known != NULL;
	u32 index;

	if (known && *known != NO_SLOT)
		return *known;
	index = take_slot(key, vcpu, tid);
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
static __always_inline void move_slot(struct lpt_slot *slot, u32 index, u32 tid)
{
	u32 *old_index, old = slot->tid;

	if (old == tid)
		return;
	old_index = tids.lookup(&old);
	if (old_index && *old_index == index)
		tids.delete(&old);
	slot->tid = tid;
}

/* From now on this thread runs this vCPU. Returns its slot, or NULL. */
static __always_inline struct lpt_slot *bind_vcpu(u64 vcpu, u64 thread)
{
	struct lpt_slot *slot = slot_of_thread(thread);
	u32 tid = thread, index = NO_SLOT;
	struct vcpu_key key = {};
	u64 kvm = 0;

	/* What it ran before must not be found at its place any more. */
	if (slot)
		slot->thread = 0;
	bpf_probe_read_kernel(&kvm, sizeof(kvm), (void *)(vcpu + KVM_VCPU_KVM));
	bpf_probe_read_kernel(&key.vcpu_id, sizeof(key.vcpu_id), (void *)(vcpu + KVM_VCPU_ID));
	key.vm = vm_of(kvm);
	if (key.vm != NO_SLOT)
		index = slot_of(&key, vcpu, tid);
	if (tids.update(&tid, &index))
		COUNT_LOSS(not_remembered);
	slot = slot_at(&index);
	if (!slot)
		return NULL;
	move_slot(slot, index, tid);
	slot->thread = thread;
	return slot;
}

/* The slot of a vCPU that another thread runs; NULL if it has none. */
static __always_inline struct lpt_slot *slot_of_vcpu(u64 vcpu)
{
	struct vcpu_key key = {};
	u32 *index;
	u64 kvm = 0;

	bpf_probe_read_kernel(&kvm, sizeof(kvm), (void *)(vcpu + KVM_VCPU_KVM));
	bpf_probe_read_kernel(&key.vcpu_id, sizeof(key.vcpu_id), (void *)(vcpu + KVM_VCPU_ID));
	index = kvms.lookup(&kvm);
	if (!index)
		return NULL;
	key.vm = *index;
	index = vcpus.lookup(&key);
	return index ? slot_at(index) : NULL;
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
