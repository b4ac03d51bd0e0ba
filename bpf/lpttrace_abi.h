/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF programs and the agent agree on. lpttrace/abi.py mirrors it; tests/contract compares
 * the two with the C compiler. It parses alone: only unsigned int and unsigned long long, padding
 * written out, no kernel type.
 *
 * One thread writes a slot (a vCPU runs on one CPU at a time), so nothing in it is atomic.
 */
#ifndef LPTTRACE_ABI_H
#define LPTTRACE_ABI_H

#define LPT_ABI_VERSION 1

/*
 * SMCCC functions that are told apart: X(name). The label of a function is its name in lower case.
 * Order is layout: append only, with a new LPT_ABI_VERSION.
 */
#define LPT_FUNCTIONS(X)                    \
	X(SMCCC_VERSION)                    \
	X(SMCCC_ARCH_FEATURES)              \
	X(SMCCC_ARCH_SOC_ID)                \
	X(SMCCC_ARCH_WORKAROUND_1)          \
	X(SMCCC_ARCH_WORKAROUND_2)          \
	X(SMCCC_ARCH_WORKAROUND_3)          \
	X(PSCI_0_1_CPU_SUSPEND)             \
	X(PSCI_0_1_CPU_OFF)                 \
	X(PSCI_0_1_CPU_ON)                  \
	X(PSCI_0_1_MIGRATE)                 \
	X(PSCI_VERSION)                     \
	X(PSCI_CPU_SUSPEND)                 \
	X(PSCI_CPU_OFF)                     \
	X(PSCI_CPU_ON)                      \
	X(PSCI_AFFINITY_INFO)               \
	X(PSCI_MIGRATE)                     \
	X(PSCI_MIGRATE_INFO_TYPE)           \
	X(PSCI_MIGRATE_INFO_UP_CPU)         \
	X(PSCI_SYSTEM_OFF)                  \
	X(PSCI_SYSTEM_RESET)                \
	X(PSCI_FEATURES)                    \
	X(PSCI_CPU_FREEZE)                  \
	X(PSCI_CPU_DEFAULT_SUSPEND)         \
	X(PSCI_NODE_HW_STATE)               \
	X(PSCI_SYSTEM_SUSPEND)              \
	X(PSCI_SET_SUSPEND_MODE)            \
	X(PSCI_STAT_RESIDENCY)              \
	X(PSCI_STAT_COUNT)                  \
	X(PSCI_SYSTEM_RESET2)               \
	X(PSCI_MEM_PROTECT)                 \
	X(PSCI_MEM_PROTECT_CHECK_RANGE)     \
	X(PSCI_SYSTEM_OFF2)                 \
	X(TRNG_VERSION)                     \
	X(TRNG_FEATURES)                    \
	X(TRNG_GET_UUID)                    \
	X(TRNG_RND32)                       \
	X(TRNG_RND64)                       \
	X(PV_TIME_FEATURES)                 \
	X(PV_TIME_ST)                       \
	X(PV_TIME_LPT)                      \
	X(VENDOR_HYP_CALL_UID)              \
	X(VENDOR_HYP_KVM_FEATURES)          \
	X(VENDOR_HYP_KVM_PTP)               \
	X(VENDOR_HYP_KVM_HYP_MEMINFO)       \
	X(VENDOR_HYP_KVM_MEM_SHARE)         \
	X(VENDOR_HYP_KVM_MEM_UNSHARE)       \
	X(VENDOR_HYP_KVM_MMIO_GUARD)        \
	X(VENDOR_HYP_KVM_DISCOVER_IMPL_VER) \
	X(VENDOR_HYP_KVM_DISCOVER_IMPL_CPUS)

/*
 * Their ids: X(id, name). An SMC32 and an SMC64 form of one function are one function. Sources:
 * include/linux/arm-smccc.h, include/uapi/linux/psci.h, arch/arm64/include/uapi/asm/kvm.h (PSCI
 * 0.1), and the LPT series of August 2020 for PV_TIME_LPT.
 */
#define LPT_FUNCTION_IDS(X)                             \
	X(0x80000000, SMCCC_VERSION)                    \
	X(0x80000001, SMCCC_ARCH_FEATURES)              \
	X(0x80000002, SMCCC_ARCH_SOC_ID)                \
	X(0x80008000, SMCCC_ARCH_WORKAROUND_1)          \
	X(0x80007FFF, SMCCC_ARCH_WORKAROUND_2)          \
	X(0x80003FFF, SMCCC_ARCH_WORKAROUND_3)          \
	X(0x95C1BA5E, PSCI_0_1_CPU_SUSPEND)             \
	X(0x95C1BA5F, PSCI_0_1_CPU_OFF)                 \
	X(0x95C1BA60, PSCI_0_1_CPU_ON)                  \
	X(0x95C1BA61, PSCI_0_1_MIGRATE)                 \
	X(0x84000000, PSCI_VERSION)                     \
	X(0x84000001, PSCI_CPU_SUSPEND)                 \
	X(0xC4000001, PSCI_CPU_SUSPEND)                 \
	X(0x84000002, PSCI_CPU_OFF)                     \
	X(0x84000003, PSCI_CPU_ON)                      \
	X(0xC4000003, PSCI_CPU_ON)                      \
	X(0x84000004, PSCI_AFFINITY_INFO)               \
	X(0xC4000004, PSCI_AFFINITY_INFO)               \
	X(0x84000005, PSCI_MIGRATE)                     \
	X(0xC4000005, PSCI_MIGRATE)                     \
	X(0x84000006, PSCI_MIGRATE_INFO_TYPE)           \
	X(0x84000007, PSCI_MIGRATE_INFO_UP_CPU)         \
	X(0xC4000007, PSCI_MIGRATE_INFO_UP_CPU)         \
	X(0x84000008, PSCI_SYSTEM_OFF)                  \
	X(0x84000009, PSCI_SYSTEM_RESET)                \
	X(0x8400000A, PSCI_FEATURES)                    \
	X(0x8400000B, PSCI_CPU_FREEZE)                  \
	X(0x8400000C, PSCI_CPU_DEFAULT_SUSPEND)         \
	X(0xC400000C, PSCI_CPU_DEFAULT_SUSPEND)         \
	X(0x8400000D, PSCI_NODE_HW_STATE)               \
	X(0xC400000D, PSCI_NODE_HW_STATE)               \
	X(0x8400000E, PSCI_SYSTEM_SUSPEND)              \
	X(0xC400000E, PSCI_SYSTEM_SUSPEND)              \
	X(0x8400000F, PSCI_SET_SUSPEND_MODE)            \
	X(0x84000010, PSCI_STAT_RESIDENCY)              \
	X(0xC4000010, PSCI_STAT_RESIDENCY)              \
	X(0x84000011, PSCI_STAT_COUNT)                  \
	X(0xC4000011, PSCI_STAT_COUNT)                  \
	X(0x84000012, PSCI_SYSTEM_RESET2)               \
	X(0xC4000012, PSCI_SYSTEM_RESET2)               \
	X(0x84000013, PSCI_MEM_PROTECT)                 \
	X(0x84000014, PSCI_MEM_PROTECT_CHECK_RANGE)     \
	X(0xC4000014, PSCI_MEM_PROTECT_CHECK_RANGE)     \
	X(0x84000015, PSCI_SYSTEM_OFF2)                 \
	X(0xC4000015, PSCI_SYSTEM_OFF2)                 \
	X(0x84000050, TRNG_VERSION)                     \
	X(0x84000051, TRNG_FEATURES)                    \
	X(0x84000052, TRNG_GET_UUID)                    \
	X(0x84000053, TRNG_RND32)                       \
	X(0xC4000053, TRNG_RND64)                       \
	X(0xC5000020, PV_TIME_FEATURES)                 \
	X(0xC5000021, PV_TIME_ST)                       \
	X(0xC5000022, PV_TIME_LPT)                      \
	X(0x8600FF01, VENDOR_HYP_CALL_UID)              \
	X(0x86000000, VENDOR_HYP_KVM_FEATURES)          \
	X(0x86000001, VENDOR_HYP_KVM_PTP)               \
	X(0xC6000002, VENDOR_HYP_KVM_HYP_MEMINFO)       \
	X(0xC6000003, VENDOR_HYP_KVM_MEM_SHARE)         \
	X(0xC6000004, VENDOR_HYP_KVM_MEM_UNSHARE)       \
	X(0xC6000007, VENDOR_HYP_KVM_MMIO_GUARD)        \
	X(0xC6000040, VENDOR_HYP_KVM_DISCOVER_IMPL_VER) \
	X(0xC6000041, VENDOR_HYP_KVM_DISCOVER_IMPL_CPUS)

/* Timer registers: X(name, op0, op1, crn, crm, op2), the encoding of the Arm architecture. */
#define LPT_TIMER_REGISTERS(X)            \
	X(CNTPCT_EL0, 3, 3, 14, 0, 1)     \
	X(CNTVCT_EL0, 3, 3, 14, 0, 2)     \
	X(CNTPCTSS_EL0, 3, 3, 14, 0, 5)   \
	X(CNTVCTSS_EL0, 3, 3, 14, 0, 6)   \
	X(CNTP_TVAL_EL0, 3, 3, 14, 2, 0)  \
	X(CNTP_CTL_EL0, 3, 3, 14, 2, 1)   \
	X(CNTP_CVAL_EL0, 3, 3, 14, 2, 2)  \
	X(CNTV_TVAL_EL0, 3, 3, 14, 3, 0)  \
	X(CNTV_CTL_EL0, 3, 3, 14, 3, 1)   \
	X(CNTV_CVAL_EL0, 3, 3, 14, 3, 2)  \
	X(CNTP_TVAL_EL02, 3, 5, 14, 2, 0) \
	X(CNTP_CTL_EL02, 3, 5, 14, 2, 1)  \
	X(CNTP_CVAL_EL02, 3, 5, 14, 2, 2) \
	X(CNTV_TVAL_EL02, 3, 5, 14, 3, 0) \
	X(CNTV_CTL_EL02, 3, 5, 14, 3, 1)  \
	X(CNTV_CVAL_EL02, 3, 5, 14, 3, 2)

/* A trap's class: what was trapped. Every class has a cell in every slot. */
#define LPT_ENUM_FUNCTION(name)				 LPT_HVC_##name,
#define LPT_ENUM_REGISTER(name, op0, op1, crn, crm, op2) LPT_READ_##name, LPT_WRITE_##name,

enum lpt_class {
	LPT_CLASS_NONE,
	LPT_HVC_UNKNOWN, /* every function id not in LPT_FUNCTION_IDS: guests choose ids */
	LPT_FUNCTIONS(LPT_ENUM_FUNCTION) LPT_TIMER_REGISTERS(LPT_ENUM_REGISTER) LPT_CLASS_COUNT,
};

/* How a trap ended. Only the first is a cost of serving it. */
enum lpt_outcome {
	LPT_SERVED,	   /* in the kernel, the thread on a CPU all the time */
	LPT_SCHEDULED_OUT, /* the thread lost its CPU, or slept, before the guest went on */
	LPT_USERSPACE,	   /* the VMM was asked, or the run was interrupted by a signal */
	LPT_OUTCOME_COUNT,
};

enum lpt_state {
	LPT_FREE,
	LPT_ALIVE,
	LPT_DEAD, /* its VM was destroyed; the agent reads it once more and frees it */
};

struct lpt_account {
	unsigned long long count;
	unsigned long long ns;
};

struct lpt_cell {
	struct lpt_account by_outcome[LPT_OUTCOME_COUNT];
};

/*
 * One vCPU. Histograms will follow the cells, one per class, so that a reader of counts only never
 * touches them. The agent reads from `sequence` on: an odd sequence, or two readings that differ,
 * mean that the writer was at work.
 */
struct lpt_slot {
	unsigned long long vcpu;     /* struct kvm_vcpu *, to recognise it by */
	unsigned long long taken_ns; /* CLOCK_MONOTONIC */
	unsigned int state;	     /* enum lpt_state */
	unsigned int vm;	     /* index of its struct lpt_vm */
	unsigned int vcpu_id;
	unsigned int tid; /* initial pid namespace */

	unsigned long long exit_ns; /* begin of the trap being served; 0: none of ours */
	unsigned int outcome;	    /* of the trap being served, as far as known */
	unsigned int last_unknown;  /* the last function id counted in LPT_HVC_UNKNOWN */

	unsigned int sequence;
	unsigned int pending; /* class of the trap being served: issued, not yet in its cell */
	unsigned long long unpaired; /* traps that began before the programs were attached */
	struct lpt_cell cells[LPT_CLASS_COUNT];
};

/* What the guest was given: the LPT structure of the RFC, section "pvtime". */
struct lpt_structure {
	unsigned int revision;
	unsigned int attributes;
	unsigned long long sequence_number;
	unsigned int native_freq; /* Hz */
	unsigned int pv_freq;	  /* Hz */
	unsigned long long scale_mult;
	unsigned long long rscale_mult;
	unsigned int fracbits;
	unsigned int rfracbits;
};

/* How a call of kvm_update_lpt_time ended. */
enum lpt_update_result {
	LPT_UPDATE_NOTHING, /* 0, nothing written: LPT is off, or another vCPU had done it */
	LPT_UPDATE_PUBLISHED,
	LPT_UPDATE_EINVAL,
	LPT_UPDATE_EFAULT,
	LPT_UPDATE_ERROR, /* any other errno: see last_error */
	LPT_UPDATE_RESULT_COUNT,
};

/* One VM. Written by several threads: counts are added atomically, the rest under `sequence`. */
struct lpt_vm {
	unsigned long long kvm;	    /* struct kvm *, to recognise it by */
	unsigned long long seen_ns; /* CLOCK_MONOTONIC; with the index it names the VM for good */
	unsigned int state;	    /* enum lpt_state */
	unsigned int tgid;	    /* the VMM's, initial pid namespace */

	unsigned int sequence;
	unsigned int last_error; /* errno of the last failed update, 0: none failed */
	unsigned long long published_ns;
	struct lpt_structure published;
	struct lpt_account updates[LPT_UPDATE_RESULT_COUNT];
};

/* What could not be attributed or stored. Added atomically. */
struct lpt_losses {
	unsigned long long no_slot;	    /* vCPUs that found no free slot */
	unsigned long long no_vm;	    /* VMs that found no free record */
	unsigned long long not_remembered;  /* loads of vCPUs refused, with no room to note it */
	unsigned long long hypercalls;	    /* hypercalls of vCPUs without a slot */
	unsigned long long timer_traps;	    /* timer traps of vCPUs without a slot */
	unsigned long long updates_untimed; /* LPT updates whose begin was not stored */
};

#endif
