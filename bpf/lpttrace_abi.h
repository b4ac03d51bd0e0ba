/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF programs and the agent agree on. lpttrace/abi.py mirrors it; tests/contract compares
 * the two with the C compiler. It parses alone: unsigned integers, padding written out.
 *
 * One thread writes a slot (a vCPU runs on one CPU at a time), so little in it is atomic.
 */
#ifndef LPTTRACE_ABI_H
#define LPTTRACE_ABI_H

#define LPT_ABI_VERSION 5

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
 * Log-linear buckets of nanoseconds, LPT_SUB_BUCKETS to an octave. Bucket 0 holds up to
 * 2^LPT_FIRST_SHIFT; bucket 1 + 4 o + s what is over (1 + s/4) 2^(6 + o) and not over
 * (1 + (s + 1)/4) 2^(6 + o): a value equal to a bound is under it. The last one holds what is over
 * 2^34 ns, 17 s. No value is further than 12.5 % from the middle of its bucket.
 */
#define LPT_FIRST_SHIFT 6
#define LPT_OCTAVES	28
#define LPT_SUB_BUCKETS 4
#define LPT_BUCKETS	(LPT_OCTAVES * LPT_SUB_BUCKETS + 2)

/* A count has 48 bits, the upper 16 apart: all classes of a vCPU fit into 64 KiB. */
struct lpt_histogram {
	unsigned int low[LPT_BUCKETS];
	unsigned short high[LPT_BUCKETS];
};

/* Timers of a vCPU: X(name, INTID of its PPI unless the VMM chose another), in KVM's order. */
#define LPT_TIMERS(X)      \
	X(PHYSICAL, 30)    \
	X(VIRTUAL, 27)     \
	X(HYP_VIRTUAL, 28) \
	X(HYP_PHYSICAL, 26)

#define LPT_ENUM_TIMER(name, intid) LPT_TIMER_##name,

enum lpt_timer {
	LPT_TIMERS(LPT_ENUM_TIMER) LPT_TIMER_OTHER, /* any other INTID */
	LPT_TIMER_COUNT,
};

/* Interrupts of one timer. */
struct lpt_interrupts {
	unsigned long long delivered; /* made pending for the guest; added atomically */
	unsigned long long overdue;   /* of them: the deadline had passed when the guest set it */
};

/* What guests ask about pvtime. */
enum lpt_question {
	LPT_ASKED_FEATURES_ST,	/* PV_TIME_FEATURES(PV_TIME_ST) */
	LPT_ASKED_FEATURES_LPT, /* PV_TIME_FEATURES(PV_TIME_LPT) */
	LPT_ASKED_ST,
	LPT_ASKED_LPT,
	LPT_QUESTION_COUNT,
};

struct lpt_answers {
	unsigned long long asked;
	unsigned long long refused; /* the answer was negative */
	unsigned long long last;    /* x0 as the guest got it; an address, or 0, or negative */
};

/* Stolen time of one vCPU; ns is of the updates, stolen_ns what they added for the guest. */
struct lpt_stolen {
	struct lpt_account updates;
	unsigned long long stolen_ns;
};

/*
 * One vCPU. What only the programs need comes first, what is read often next, the histograms last,
 * so that a reader of counts never touches them. The agent reads from `sequence` on: an odd
 * sequence, or two readings that differ, mean that the writer was at work.
 */
struct lpt_slot {
	unsigned long long vcpu;     /* struct kvm_vcpu *, to recognise it by */
	unsigned long long taken_ns; /* CLOCK_MONOTONIC */
	unsigned int state;	     /* enum lpt_state */
	unsigned int vm;	     /* index of its struct lpt_vm */
	unsigned int vcpu_id;
	unsigned int tid; /* initial pid namespace */

	unsigned long long begin_ns;	/* of the trap being served */
	unsigned long long deadline_ns; /* of a timer whose interrupt the next entry delivers */
	unsigned long long steal_ns;	/* begin of the stolen-time update being made, or 0 */
	unsigned long long steal_before;
	unsigned long long lowered_ns[LPT_TIMER_OTHER]; /* an emulated timer's line fell last */
	unsigned long long thread; /* pid and tid, while it is this vCPU that the thread runs */
	unsigned int feature;	   /* asked about by the PV_TIME_FEATURES being served */

	unsigned int sequence;
	unsigned int work;    /* enum lpt_work */
	unsigned int pending; /* class of the trap being served: issued, not yet in its cell */
	unsigned int outcome; /* of the trap being served, as far as known */
	unsigned int raised;  /* a bit for each emulated timer whose line is up */
	unsigned long long unpaired;	 /* traps whose kvm_entry was not seen */
	unsigned long long last_unknown; /* the last function id counted in LPT_HVC_UNKNOWN */
	struct lpt_interrupts interrupts[LPT_TIMER_COUNT];
	struct lpt_account lateness; /* from an emulated timer's deadline to the entry delivering */
	struct lpt_stolen stolen;
	struct lpt_answers answers[LPT_QUESTION_COUNT];
	struct lpt_cell cells[LPT_CLASS_COUNT];

	struct lpt_histogram late;
	struct lpt_histogram service[LPT_CLASS_COUNT]; /* of LPT_SERVED */
};

/* Whether looking for a free index is worth while. */
struct lpt_space {
	unsigned long long freed;   /* that the agent has freed so far */
	unsigned long long full_at; /* `freed` + 1 when none was found last */
};

/* A slot is taken near the place that the thread's tid chooses: one look-up finds it again. */
struct lpt_room {
	struct lpt_space slots;
	struct lpt_space vms;
};

/* What happened since the last entry. */
enum lpt_work {
	LPT_LOADED = 1,	  /* the vCPU got a CPU: its timers are looked at, not fired by hardware */
	LPT_FOREIGN = 2,  /* the timer interrupt being handled is another vCPU's */
	LPT_DEADLINE = 4, /* deadline_ns is set */
	LPT_ASKED = 8,	  /* the hypercall being served is about pvtime */
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

/* Calls of KVM_{SET,GET,HAS}_DEVICE_ATTR on the VM. */
enum lpt_call_kind {
	LPT_CALL_SET,
	LPT_CALL_GET,
	LPT_CALL_HAS,
	LPT_CALL_COUNT,
};

struct lpt_calls {
	unsigned long long done;
	unsigned long long failed;
};

/*
 * One VM. Written by several threads: counts are added atomically, the structures by the only
 * thread that publishes, under `sequence`.
 */
struct lpt_vm {
	unsigned long long kvm;	    /* struct kvm *, to recognise it by */
	unsigned long long seen_ns; /* CLOCK_MONOTONIC; with the index it names the VM for good */
	unsigned int state;	    /* enum lpt_state */
	unsigned int tgid;	    /* the VMM's, initial pid namespace */
	unsigned long long number;  /* which of its process's, from 1; the agent's, or 0 */

	unsigned int sequence;
	unsigned int last_error; /* errno of the last failed update, 0: none failed */
	unsigned long long published_ns;
	struct lpt_structure published;
	struct lpt_structure previous; /* as the guest's memory had it before; all zero: none */
	struct lpt_account updates[LPT_UPDATE_RESULT_COUNT];
	struct lpt_calls calls[LPT_CALL_COUNT];
};

/* What happens rarely is told one by one: a hash, so that any number of readers can look. */
enum lpt_event_kind {
	LPT_EVENT_SET_ATTR, /* the order of enum lpt_call_kind */
	LPT_EVENT_GET_ATTR,
	LPT_EVENT_HAS_ATTR,
	LPT_EVENT_UPDATE, /* of LPT; not those that had nothing to do */
	LPT_EVENT_KIND_COUNT,
};

struct lpt_event_key {
	unsigned long long ns; /* CLOCK_MONOTONIC, of the return */
	unsigned int tid;
	unsigned int kind; /* enum lpt_event_kind */
};

struct lpt_event {
	unsigned int vm;    /* index of its struct lpt_vm */
	unsigned int error; /* errno; 0: done */
	unsigned int group; /* of an attribute */
	unsigned int has_value;
	unsigned long long attribute;
	/* First 8 bytes at the attribute's address (those after a u32 are not its), or the native
	 * frequencies of an update: previous << 32 | published. */
	unsigned long long value;
};

/* What could not be attributed or stored. Added atomically. */
struct lpt_losses {
	unsigned long long no_slot;	     /* vCPUs that found no free slot */
	unsigned long long no_vm;	     /* VMs that found no free record */
	unsigned long long not_remembered;   /* loads of vCPUs refused, with no room to note it */
	unsigned long long hypercalls;	     /* hypercalls of vCPUs without a slot */
	unsigned long long timer_traps;	     /* timer traps of vCPUs without a slot */
	unsigned long long timer_interrupts; /* timer interrupts of vCPUs without a slot */
	unsigned long long updates_untimed;  /* LPT updates whose begin or end was not seen */
	unsigned long long steals_untimed;   /* stolen-time updates whose end was not seen */
	unsigned long long events;	     /* events with no room for them */
};

#endif
