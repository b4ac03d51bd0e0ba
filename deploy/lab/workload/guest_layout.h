/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the VMM and its guest agree on: addresses, memory layout, operations.
 * Read by C and by assembly, so only plain macros outside the C part.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

/* Guest physical addresses. The gap after GIC_REDIST_BASE has room for 7,000 redistributors. */
#define MMIO_BASE	0x01000000
#define GIC_DIST_BASE	0x08000000
#define GIC_REDIST_BASE 0x08100000
#define GIC_REDIST_SIZE 0x20000
#define GIC_REDIST_SGI	0x10000 /* its second frame: the vCPU's own interrupts */
#define RAM_BASE	0x40000000

/* Stores to these leave the guest: two that the VMM answers, three that report an exception. */
#define MMIO_PAUSE   0x00
#define MMIO_OFFLINE 0x08
#define MMIO_ESR     0x10
#define MMIO_ELR     0x18
#define MMIO_FAR     0x20

/* In RAM: the image (code, then its translation table), the VM's page, the vCPUs' areas. */
#define IMAGE_TABLE	  0x2000
#define IMAGE_SIZE	  0x3000
#define GUEST_VM_OFFSET	  0x3000
#define GUEST_VCPU_OFFSET 0x3200

/* struct guest_vm */
#define VM_STOP		  0x00
#define VM_VCPUS	  0x08
#define VM_STRIDE	  0x10
#define VM_ROUNDS	  0x18
#define VM_SPIN		  0x20
#define VM_PAUSE	  0x28
#define VM_LPT		  0x30
#define VM_LPT_IPA	  0x38
#define VM_COUNTERS_BEGIN 0x40
#define VM_COUNTERS_END	  0x50
#define VM_DEADLINE	  0x60
#define VM_LPT_PUBLISHED  0xc0

/* struct lpt_structure */
#define LPT_SEQUENCE_NUMBER 8
#define LPT_SCALE_MULT	    24
#define LPT_FRACBITS	    40

/* struct guest_vcpu */
#define VCPU_MPIDR	0x00
#define VCPU_BOOT	0x08
#define VCPU_N_OPS	0x10
#define VCPU_ROUNDS	0x18
#define VCPU_FINISHED	0x20
#define VCPU_MMIO_EXITS 0x28
#define VCPU_STOLEN	0x30
#define VCPU_TIMINGS	0x38
#define VCPU_STEAL	0x40
#define VCPU_CLOCK	0x80
#define VCPU_FREQUENCY	0x110
#define VCPU_RANDOM	0x118
#define VCPU_REDIST	0x120
#define VCPU_OPS	0x140

/* struct guest_clock */
#define CLOCK_COPY	0x00
#define CLOCK_LAST	0x40
#define CLOCK_SAMPLES	0x48
#define CLOCK_REREADS	0x50
#define CLOCK_BACKWARDS 0x58
#define CLOCK_MOST	0x60
#define CLOCK_DEADLINE	0x68
#define CLOCK_BEFORE	0x70
#define CLOCK_AFTER	0x80

/* struct guest_op */
#define OP_KIND	     0
#define OP_ID	     4
#define OP_X1	     8
#define OP_X3	     24
#define OP_PER_ROUND 32
#define OP_LEFT	     40
#define OP_COUNT     48
#define OP_ANSWER    56
#define OP_SHIFT     6

/* The first slots of a vCPU are the calls a guest makes for itself; those asked for follow. */
#define SLOT_CPU_ON	  0
#define SLOT_CPU_OFF	  1
#define SLOT_SYSTEM_OFF	  2
#define SLOT_LPT_FEATURES 3
#define SLOT_LPT	  4
#define SLOT_ST_FEATURES  5
#define SLOT_ST		  6
#define SLOT_EMPTY	  7
#define SLOT_FIRST	  8

/*
 * Observed costs in counter ticks, in log-linear buckets: 64 of one tick each, and from there on 64
 * to each doubling, so that a bucket is at most 1/64 of its value wide.
 */
#define TIMING_COUNT	0x00
#define TIMING_SUM	0x08
#define TIMING_MIN	0x10
#define TIMING_MAX	0x18
#define TIMING_BUCKETS	0x40
#define TIMING_SUB_BITS 6
#define TIMING_TOP_BIT	39 /* what takes longer counts as if it took 2^40 - 1 ticks */
#define TIMING_N	((TIMING_TOP_BIT - TIMING_SUB_BITS + 2) << TIMING_SUB_BITS)
#define TIMING_SIZE	(TIMING_BUCKETS + 4 * TIMING_N)
#define EMPTY_TIMINGS	100 /* in each round */

/*
 * Kinds of operation: a hypercall, then every read, then every write, in this order; nothing at
 * all, to learn what timing itself costs; an interrupt of a timer; hypercalls whose ids are a
 * range, and with random upper halves of x0.
 */
#define KIND_HVC	   0
#define KIND_READ	   1
#define KIND_WRITE	   9
#define KIND_EMPTY	   15
#define KIND_TICK_PHYSICAL 16
#define KIND_TICK_VIRTUAL  17
#define KIND_SPRAY	   18
#define KIND_DIRTY	   19
#define READ_REGISTERS(X) \
	X(cntp_ctl_el0)   \
	X(cntp_cval_el0)  \
	X(cntp_tval_el0)  \
	X(cntpct_el0)     \
	X(cntvct_el0)     \
	X(cntv_ctl_el0)   \
	X(cntv_cval_el0)  \
	X(cntv_tval_el0)
#define WRITE_REGISTERS(X) \
	X(cntp_ctl_el0)    \
	X(cntp_cval_el0)   \
	X(cntp_tval_el0)   \
	X(cntv_ctl_el0)    \
	X(cntv_cval_el0)   \
	X(cntv_tval_el0)

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

/* The structure of PV_TIME_LPT, and PV_TIME_ST's, both little-endian as the guest is. */
struct lpt_structure {
	uint32_t revision;
	uint32_t attributes;
	uint64_t sequence_number;
	uint32_t native_freq;
	uint32_t pv_freq;
	uint64_t scale_mult;
	uint64_t rscale_mult;
	uint32_t fracbits;
	uint32_t rfracbits;
	uint64_t reserved[2];
};

struct stolen_structure {
	uint32_t revision;
	uint32_t attributes;
	uint64_t stolen_ns;
	uint64_t reserved[6];
};

struct guest_counters {
	uint64_t native;
	uint64_t pv;
};

struct guest_vm {
	uint32_t stop; /* set by the VMM: no further round */
	uint32_t reserved0;
	uint64_t vcpus;
	uint64_t stride; /* bytes from one vCPU's area to the next */
	uint64_t rounds; /* 0: until stop */
	uint64_t spin;
	uint64_t pause;	  /* not 0: MMIO_PAUSE after each round */
	uint64_t lpt;	  /* not 0: ask for Live Physical Time */
	uint64_t lpt_ipa; /* what PV_TIME_LPT answered; 0: no answer to use */
	struct guest_counters counters[2];
	uint64_t deadline; /* not 0: arm the virtual timer, masked, by so many ticks from now */
	uint64_t reserved1[11];
	struct lpt_structure lpt_published;
};

struct guest_op {
	uint32_t kind;
	uint32_t id;
	uint64_t x1; /* of a hypercall; of a write: the value; of a tick: how far off it is */
	uint64_t x2;
	uint64_t x3; /* of KIND_SPRAY: from one id to the next */
	uint64_t per_round;
	uint64_t left;
	uint64_t count;
	uint64_t answer; /* of ticks: how late they were in all */
};

/* A vCPU's PV clock: what it converts by, and how it went. */
struct guest_clock {
	struct lpt_structure copy; /* as the guest read it when its sequence number changed */
	uint64_t last;
	uint64_t samples;
	uint64_t rereads;
	uint64_t backwards;	      /* samples that are before the one before them */
	uint64_t most;		      /* ticks that one was at most */
	uint64_t deadline;	      /* CNTV_CVAL_EL0 */
	struct guest_counters before; /* the last pause */
	struct guest_counters after;
};

struct guest_timing {
	uint64_t count;
	uint64_t sum;
	uint64_t min;
	uint64_t max;
	uint64_t reserved[4];
	uint32_t buckets[TIMING_N];
};

struct guest_vcpu {
	uint64_t mpidr;
	uint64_t boot;
	uint64_t n_ops; /* from SLOT_FIRST on */
	uint64_t rounds;
	uint64_t finished;
	uint64_t mmio_exits;
	uint64_t stolen;  /* not 0: ask for stolen time */
	uint64_t timings; /* address of a struct guest_timing for each slot; 0: do not time */
	struct stolen_structure steal;
	struct guest_clock clock;
	uint64_t frequency; /* CNTFRQ_EL0 */
	uint64_t random;    /* never 0 */
	uint64_t redist;    /* of its redistributor the frame at GIC_REDIST_SGI */
	uint64_t reserved[3];
	struct guest_op ops[];
};

#define AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #member)
AT(lpt_structure, sequence_number, LPT_SEQUENCE_NUMBER);
AT(lpt_structure, scale_mult, LPT_SCALE_MULT);
AT(lpt_structure, fracbits, LPT_FRACBITS);
AT(guest_vm, stop, VM_STOP);
AT(guest_vm, vcpus, VM_VCPUS);
AT(guest_vm, stride, VM_STRIDE);
AT(guest_vm, rounds, VM_ROUNDS);
AT(guest_vm, spin, VM_SPIN);
AT(guest_vm, pause, VM_PAUSE);
AT(guest_vm, lpt, VM_LPT);
AT(guest_vm, lpt_ipa, VM_LPT_IPA);
AT(guest_vm, counters[0], VM_COUNTERS_BEGIN);
AT(guest_vm, counters[1], VM_COUNTERS_END);
AT(guest_vm, deadline, VM_DEADLINE);
AT(guest_vm, lpt_published, VM_LPT_PUBLISHED);
AT(guest_vcpu, mpidr, VCPU_MPIDR);
AT(guest_vcpu, boot, VCPU_BOOT);
AT(guest_vcpu, n_ops, VCPU_N_OPS);
AT(guest_vcpu, rounds, VCPU_ROUNDS);
AT(guest_vcpu, finished, VCPU_FINISHED);
AT(guest_vcpu, mmio_exits, VCPU_MMIO_EXITS);
AT(guest_vcpu, stolen, VCPU_STOLEN);
AT(guest_vcpu, steal, VCPU_STEAL);
AT(guest_vcpu, timings, VCPU_TIMINGS);
AT(guest_vcpu, clock, VCPU_CLOCK);
AT(guest_vcpu, frequency, VCPU_FREQUENCY);
AT(guest_vcpu, random, VCPU_RANDOM);
AT(guest_vcpu, redist, VCPU_REDIST);
AT(guest_vcpu, ops, VCPU_OPS);
AT(guest_clock, copy, CLOCK_COPY);
AT(guest_clock, last, CLOCK_LAST);
AT(guest_clock, samples, CLOCK_SAMPLES);
AT(guest_clock, rereads, CLOCK_REREADS);
AT(guest_clock, backwards, CLOCK_BACKWARDS);
AT(guest_clock, most, CLOCK_MOST);
AT(guest_clock, deadline, CLOCK_DEADLINE);
AT(guest_clock, before, CLOCK_BEFORE);
AT(guest_clock, after, CLOCK_AFTER);
AT(guest_timing, count, TIMING_COUNT);
AT(guest_timing, sum, TIMING_SUM);
AT(guest_timing, min, TIMING_MIN);
AT(guest_timing, max, TIMING_MAX);
AT(guest_timing, buckets, TIMING_BUCKETS);
_Static_assert(sizeof(struct guest_timing) == TIMING_SIZE && TIMING_SIZE % 64 == 0, "guest_timing");
AT(guest_op, kind, OP_KIND);
AT(guest_op, id, OP_ID);
AT(guest_op, x1, OP_X1);
AT(guest_op, x3, OP_X3);
AT(guest_op, per_round, OP_PER_ROUND);
AT(guest_op, left, OP_LEFT);
AT(guest_op, count, OP_COUNT);
AT(guest_op, answer, OP_ANSWER);
_Static_assert(sizeof(struct guest_op) == 1 << OP_SHIFT, "guest_op");
_Static_assert(GUEST_VM_OFFSET + sizeof(struct guest_vm) <= GUEST_VCPU_OFFSET, "guest_vm");
#undef AT
#endif /* __ASSEMBLER__ */
#endif
