/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the kernel, and nowhere else. Offsets (in bytes) and enumerators come from the
 * running kernel's BTF, addresses from its kallsyms; lpttrace/plan.py passes them as macros. Only
 * the first three are always there.
 *
 * MAX_VCPUS		 size of the maps
 * KVM_VCPU_KVM		 struct kvm_vcpu's kvm
 * KVM_VCPU_ID		 struct kvm_vcpu's vcpu_id
 * KVM_RUNNING_VCPU	 address of the per-CPU kvm_running_vcpu
 * PER_CPU_OFFSET	 address of __per_cpu_offset[]
 * KVM_VCPU_X0		 struct kvm_vcpu's arch.ctxt, which begins with the guest's x0
 * KVM_VCPU_SYS_REGS	 struct kvm_vcpu's arch.ctxt.sys_regs
 * CNTP_CTL, CNTV_CTL	 enum vcpu_sysreg's CNTP_CTL_EL0 and CNTV_CTL_EL0
 * KVM_VCPU_TIMERS	 struct kvm_vcpu's arch.timer_cpu.timers
 * TIMER_SIZE		 size of struct arch_timer_context
 * TIMER_HRTIMER	 its hrtimer
 * TIMER_VCPU		 its vcpu (up to 6.12), or
 * TIMER_ID		 its timer_id (since 7.2 at the latest)
 * TIMER_OFFSET		 its offset (since 6.4)
 * HRTIMER_EXPIRES	 struct hrtimer's _softexpires
 * KVM_VCPU_LAST_STEAL	 struct kvm_vcpu's arch.steal.last_steal
 * FILE_PRIVATE_DATA	 struct file's private_data
 */
#ifndef LPTTRACE_COMPAT_H
#define LPTTRACE_COMPAT_H

#include <linux/types.h>
#include <asm/ptrace.h>

#include "lpttrace_abi.h"

/* CNTx_CTL_EL0: the deadline has passed. */
#define CNT_CTL_ISTATUS 4

/* ISS of a trapped MRS or MSR: Op0[21:20] Op2[19:17] Op1[16:14] CRn[13:10] Rt CRm[4:1] read[0]. */
#define ISS_READ 1
#define ISS_SYSREG(op0, op1, crn, crm, op2) \
	((op0) << 20 | (op2) << 17 | (op1) << 14 | (crn) << 10 | (crm) << 1)
#define ISS_SYSREG_MASK ISS_SYSREG(3, 7, 15, 15, 7)

/*
 * The compiler must compare the very register that it then uses as an index, or the verifier, which
 * tracks registers, does not know the bound.
 */
#define AS_INDEX(variable) asm volatile("" : "+r"(variable))

/*
 * The vCPU loaded on this CPU, or 0. kvm_running_vcpu is static and per-CPU: it has an address in
 * kallsyms if the kernel has CONFIG_KALLSYMS_ALL. The same since 5.7 (commit 7495e22bb165 "KVM:
 * Move running VCPU from ARM to common code").
 */
static __always_inline u64 running_vcpu(void)
{
	u64 vcpu = 0;
#ifdef KVM_RUNNING_VCPU
	u64 base = 0;

	bpf_probe_read_kernel(&base, sizeof(base),
			      (void *)(PER_CPU_OFFSET + 8ULL * bpf_get_smp_processor_id()));
	bpf_probe_read_kernel(&vcpu, sizeof(vcpu), (void *)(KVM_RUNNING_VCPU + base));
#endif
	return vcpu;
}

/* x0 to x3 of the guest as KVM keeps them; 0 if they cannot be read. */
static __always_inline u64 guest_register(u64 vcpu, u32 number)
{
	u64 value = 0;
#ifdef KVM_VCPU_X0
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(vcpu + KVM_VCPU_X0 + 8 * number));
#endif
	return value;
}

/*
 * When a timer's hrtimer was last to expire, CLOCK_MONOTONIC; 0 if it never was started, that is
 * if hardware fires this timer. KVM starts it whenever it emulates the timer and its deadline is
 * still to come, and leaves the time in it (5.8 to 7.2).
 */
static __always_inline u64 hrtimer_expiry(u64 vcpu, u32 timer)
{
	u64 expires = 0;
#ifdef KVM_VCPU_TIMERS
	u64 context = vcpu + KVM_VCPU_TIMERS + timer * TIMER_SIZE;

	bpf_probe_read_kernel(&expires, sizeof(expires),
			      (void *)(context + TIMER_HRTIMER + HRTIMER_EXPIRES));
#endif
	return expires;
}

/*
 * True if a timer that hardware fires had fired already when the vCPU lost its CPU: its saved
 * CNTx_CTL_EL0 has ISTATUS set. KVM keeps the register in ctxt.sys_regs since 5.9 (41ce82f63c06
 * "KVM: arm64: timers: Move timer registers to the sys_regs file"). Emulated timers have no
 * ISTATUS there.
 */
static __always_inline bool had_fired(u64 vcpu, u32 timer)
{
	u64 ctl = 0;
#ifdef KVM_VCPU_SYS_REGS
	u32 number = timer == LPT_TIMER_PHYSICAL  ? CNTP_CTL
		     : timer == LPT_TIMER_VIRTUAL ? CNTV_CTL
						  : 0;

	if (number)
		bpf_probe_read_kernel(&ctl, sizeof(ctl),
				      (void *)(vcpu + KVM_VCPU_SYS_REGS + 8 * number));
#endif
	return ctl & CNT_CTL_ISTATUS;
}

/*
 * True if KVM looks at the lines of all timers whenever a register of one is accessed. Until 6.3
 * (fc6ee952cf00 "KVM: arm64: Reduce overhead of trapped timer sysreg accesses"), which cannot be
 * told from 6.2: had_fired() is then asked more often than it needs to be.
 */
static __always_inline bool access_looks_at_lines(void)
{
#ifdef TIMER_OFFSET
	return false;
#else
	return true;
#endif
}

/* The vCPU of a struct arch_timer_context; 0 if it cannot be told. */
static __always_inline u64 vcpu_of_timer(u64 context)
{
	u64 vcpu = 0;
#if defined(TIMER_VCPU)
	bpf_probe_read_kernel(&vcpu, sizeof(vcpu), (void *)(context + TIMER_VCPU));
#elif defined(TIMER_ID) && defined(KVM_VCPU_TIMERS)
	u32 id = 0;

	if (!bpf_probe_read_kernel(&id, sizeof(id), (void *)(context + TIMER_ID)))
		vcpu = context - KVM_VCPU_TIMERS - id * TIMER_SIZE;
#endif
	return vcpu;
}

/* Which of its vCPU's timers a struct arch_timer_context is: enum kvm_arch_timers, as ours. */
static __always_inline u32 timer_of_context(u64 vcpu, u64 context)
{
#ifdef KVM_VCPU_TIMERS
	u64 index = (context - vcpu - KVM_VCPU_TIMERS) / TIMER_SIZE;

	if (index < LPT_TIMER_OTHER)
		return index;
#endif
	return LPT_TIMER_OTHER;
}

/* Nanoseconds that the vCPU's thread had waited for a CPU at the last update of stolen time. */
static __always_inline u64 last_steal(u64 vcpu)
{
	u64 steal = 0;
#ifdef KVM_VCPU_LAST_STEAL
	bpf_probe_read_kernel(&steal, sizeof(steal), (void *)(vcpu + KVM_VCPU_LAST_STEAL));
#endif
	return steal;
}

/* The struct kvm of a VM's file. */
static __always_inline u64 kvm_of_file(u64 file)
{
	u64 kvm = 0;
#ifdef FILE_PRIVATE_DATA
	bpf_probe_read_kernel(&kvm, sizeof(kvm), (void *)(file + FILE_PRIVATE_DATA));
#endif
	return kvm;
}

#endif
