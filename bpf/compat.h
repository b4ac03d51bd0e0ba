/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the kernel, and nowhere else. Offsets come from the running kernel's BTF,
 * addresses from its kallsyms; lpttrace/plan.py passes them as macros:
 *
 * MAX_VCPUS		size of the maps
 * KVM_VCPU_KVM		offset of struct kvm_vcpu's kvm, in bytes
 * KVM_VCPU_ID		offset of struct kvm_vcpu's vcpu_id
 * KVM_RUNNING_VCPU	address of the per-CPU kvm_running_vcpu (optional, with the next)
 * PER_CPU_OFFSET	address of __per_cpu_offset[]
 */
#ifndef LPTTRACE_COMPAT_H
#define LPTTRACE_COMPAT_H

#include <linux/types.h>
#include <asm/ptrace.h>

/*
 * kvm_exit's code; bit 31 tells a pending SError (asm/kvm_asm.h, the same in 5.8 to 7.2). Its
 * esr_ec is that of an earlier trap unless the code is TRAP: unlike the formatted event, the raw
 * argument is not cleared.
 */
#define EXIT_CODE(ret)	   ((u32)(ret)&0x7fffffff)
#define ARM_EXCEPTION_TRAP 2

#define ESR_EC_HVC32	   0x12
#define ESR_EC_HVC64	   0x16
#define ESR_EC_SYS64	   0x18

/* ISS of a trapped MRS or MSR: Op0[21:20] Op2[19:17] Op1[16:14] CRn[13:10] Rt CRm[4:1] read[0]. */
#define ISS_READ 1
#define ISS_SYSREG(op0, op1, crn, crm, op2) \
	((op0) << 20 | (op2) << 17 | (op1) << 14 | (crn) << 10 | (crm) << 1)
#define ISS_SYSREG_MASK ISS_SYSREG(3, 7, 15, 15, 7)

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

#endif
