// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of VMs: how the VMM switches LPT on.
 *
 * kvm_arch_vm_ioctl(file, ioctl, arg) is where every kernel answers these calls. A kprobe and a
 * kretprobe, each a BRK exception, a few times in the life of a VM.
 */
#include "vcpu.h"
#include "event.h"

/* linux/kvm.h: _IOW(KVMIO, 0xe1, struct kvm_device_attr) and the two that follow. */
#define KVM_SET_DEVICE_ATTR 0x4018aee1
#define KVM_HAS_DEVICE_ATTR 0x4018aee3

/*
 * By a name of our own: at every call by its own bcc reads kallsyms to see whether the kernel has
 * it, 0.1 s each.
 */
static int (*read_user)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;

struct device_attr {
	u32 flags;
	u32 group;
	u64 attr;
	u64 addr;
};

int on_vm_ioctl(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid(), kind = (u32)PT_REGS_PARM2(ctx) - KVM_SET_DEVICE_ATTR;
	struct device_attr attr = {};
	u64 kvm = kvm_of_file(PT_REGS_PARM1(ctx));
	struct attr_call call = {};

	/* One that is there still is a call whose return the kretprobe had no instance for. */
	if (!attr_calls.delete(&tid))
		COUNT_LOSS(events);
	if (kind >= LPT_CALL_COUNT || !kvm)
		return 0;
	read_user(&attr, sizeof(attr), (void *)PT_REGS_PARM3(ctx));
	call.vm = vm_of(kvm);
	call.kind = kind;
	call.group = attr.group;
	call.attribute = attr.attr;
	call.address = attr.addr;
	if (attr_calls.update(&tid, &call))
		COUNT_LOSS(events);
	return 0;
}

static __always_inline void count_call(struct attr_call *call, int ret)
{
	struct lpt_vm *vm = vms.lookup(&call->vm);

	if (!vm || call->kind >= LPT_CALL_COUNT)
		return;
	if (ret)
		__sync_fetch_and_add(&vm->calls[call->kind].failed, 1);
	else
		__sync_fetch_and_add(&vm->calls[call->kind].done, 1);
}

int on_vm_ioctl_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct attr_call *call = attr_calls.lookup(&tid);
	struct lpt_event event = {};
	int ret = PT_REGS_RC(ctx);

	if (!call)
		return 0;
	count_call(call, ret);
	event.vm = call->vm;
	event.error = ret < 0 ? -ret : 0;
	event.group = call->group;
	event.attribute = call->attribute;
	if (call->kind != LPT_CALL_HAS)
		event.has_value =
			!read_user(&event.value, sizeof(event.value), (void *)call->address);
	tell(call->kind, &event);
	attr_calls.delete(&tid);
	return 0;
}
