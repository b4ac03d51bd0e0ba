/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest: every vCPU enters at _start with the address of its struct guest_vcpu in x0, does its
 * rounds and turns itself off. It has no stack: x29, x28, x27 hold the return addresses of the
 * three levels of calls. x19: this vCPU's area, x20: the VM's, x21: the operation at hand.
 */
#include "guest_layout.h"

#define HANDLER_SHIFT 3

#define MAIR_VALUE 0xff00 /* index 0: device-nGnRnE, index 1: normal write-back */
/* 39 bits of addresses, 4 KB granule, inner shareable write-back walks, no TTBR1 */
#define TCR_VALUE  ((1 << 23) | (3 << 12) | (1 << 10) | (1 << 8) | 25)
#define SCTLR_MMU_AND_CACHES ((1 << 12) | (1 << 2) | 1)
#define BLOCK_DEVICE ((3 << 53) | (1 << 10) | 1)
#define BLOCK_NORMAL ((1 << 10) | (3 << 8) | (1 << 2) | 1)

	.macro	load_constant reg, value
	movz	\reg, #((\value) & 0xffff)
	movk	\reg, #((\value) >> 16), lsl #16
	.endm

	.macro	use_slot slot
	add	x21, x19, #(VCPU_OPS + (\slot << OP_SHIFT))
	.endm

	/* Counts the instruction that follows; before it, because some never return. */
	.macro	count_op
	ldr	x9, [x21, #OP_COUNT]
	add	x9, x9, #1
	str	x9, [x21, #OP_COUNT]
	.endm

	.macro	mmio_exit reg
	ldr	x9, [x19, #VCPU_MMIO_EXITS]
	add	x9, x9, #1
	str	x9, [x19, #VCPU_MMIO_EXITS]
	load_constant x9, MMIO_BASE
	str	x9, [x9, #\reg]
	.endm

	.text
	.global	_start
_start:
	adr	x1, vectors
	msr	vbar_el1, x1
	mov	x19, x0
	load_constant x20, (RAM_BASE + GUEST_VM_OFFSET)
	bl	mmu_on
	mrs	x9, cntfrq_el0
	str	x9, [x19, #VCPU_FREQUENCY]
	ldr	x9, [x19, #VCPU_BOOT]
	cbz	x9, secondary
	bl	lpt_ask
	bl	secondaries_on
	bl	stolen_ask
	bl	do_rounds
	add	x1, x20, #VM_COUNTERS_END
	bl	clock_sample
	b	boot_end
secondary:
	bl	stolen_ask
	bl	do_rounds
	b	secondary_end

/*
 * Without its MMU the guest's accesses would bypass the caches through which the VMM sees this
 * memory, so every vCPU turns it on first, on a table that maps each address to itself.
 */
mmu_on:
	load_constant x1, MAIR_VALUE
	msr	mair_el1, x1
	load_constant x1, TCR_VALUE
	msr	tcr_el1, x1
	load_constant x1, (RAM_BASE + IMAGE_TABLE)
	msr	ttbr0_el1, x1
	tlbi	vmalle1
	dsb	nsh
	isb
	mrs	x1, sctlr_el1
	mov	x2, #(SCTLR_MMU_AND_CACHES)
	orr	x1, x1, x2
	msr	sctlr_el1, x1
	isb
	ret

secondaries_on:
	mov	x29, x30
	use_slot SLOT_CPU_ON
	ldr	x24, [x20, #VM_VCPUS]
	ldr	x25, [x20, #VM_STRIDE]
	mov	x26, x19
1:	subs	x24, x24, #1
	b.eq	2f
	add	x26, x26, x25
	ldr	x9, [x26, #VCPU_MPIDR]
	adr	x10, _start
	stp	x9, x10, [x21, #OP_X1]
	str	x26, [x21, #OP_X3]
	bl	issue
	cbz	x0, 1b
	brk	#1
2:	ret	x29

lpt_ask:
	mov	x29, x30
	ldr	x9, [x20, #VM_LPT]
	cbz	x9, 1f
	use_slot SLOT_LPT_FEATURES
	bl	issue
	cbnz	x0, 1f
	use_slot SLOT_LPT
	bl	issue
	cmn	x0, #1
	b.eq	1f
	str	x0, [x20, #VM_LPT_IPA]
	add	x1, x20, #VM_COUNTERS_BEGIN
	bl	clock_sample
1:	ret	x29

stolen_ask:
	mov	x29, x30
	ldr	x9, [x19, #VCPU_STOLEN]
	cbz	x9, 1f
	use_slot SLOT_ST_FEATURES
	bl	issue
	cbnz	x0, 1f
	use_slot SLOT_ST
	bl	issue
1:	ret	x29

do_rounds:
	mov	x29, x30
	bl	arm_deadline
	use_slot SLOT_FIRST
	mov	x22, x21
	ldr	x9, [x19, #VCPU_N_OPS]
	add	x23, x22, x9, lsl #OP_SHIFT
next_round:
	ldr	x9, [x20, #VM_ROUNDS]
	ldr	x10, [x19, #VCPU_ROUNDS]
	cbz	x9, 1f
	cmp	x9, x10
	b.eq	2f
1:	ldar	w11, [x20] /* VM_STOP */
	cbnz	w11, 2f
	bl	time_nothing
	bl	one_round
	ldr	x10, [x19, #VCPU_ROUNDS]
	add	x10, x10, #1
	str	x10, [x19, #VCPU_ROUNDS]
	ldr	x9, [x20, #VM_PAUSE]
	cbz	x9, next_round
	add	x1, x19, #(VCPU_CLOCK + CLOCK_BEFORE)
	bl	clock_sample
	mmio_exit MMIO_PAUSE
	add	x1, x19, #(VCPU_CLOCK + CLOCK_AFTER)
	bl	clock_sample
	b	next_round
2:	ret	x29

/* Round robin over the operations from x22 to x23 until none has anything left. */
one_round:
	mov	x28, x30
	mov	x21, x22
1:	cmp	x21, x23
	b.eq	2f
	ldr	x9, [x21, #OP_PER_ROUND]
	str	x9, [x21, #OP_LEFT]
	add	x21, x21, #(1 << OP_SHIFT)
	b	1b
2:	mov	x24, #0
	mov	x21, x22
3:	cmp	x21, x23
	b.eq	6f
	ldr	x9, [x21, #OP_LEFT]
	cbz	x9, 5f
	sub	x9, x9, #1
	str	x9, [x21, #OP_LEFT]
	mov	x24, #1
	bl	issue
	ldr	x9, [x20, #VM_SPIN]
	cbz	x9, 5f
4:	subs	x9, x9, #1
	b.ne	4b
5:	add	x21, x21, #(1 << OP_SHIFT)
	b	3b
6:	cbnz	x24, 2b
	ret	x28

boot_end:
	ldr	x9, [x20, #VM_VCPUS]
	cmp	x9, #1
	b.eq	1f
	mmio_exit MMIO_OFFLINE
1:	use_slot SLOT_SYSTEM_OFF
	bl	issue
	brk	#2

secondary_end:
	mov	x9, #1
	add	x10, x19, #VCPU_FINISHED
	stlr	x9, [x10]
	use_slot SLOT_CPU_OFF
	bl	issue
	brk	#3

/*
 * Does the operation at x21 once; its answer is left in x0. A handler is one instruction and a
 * return, and expects x0 to x3 as a hypercall takes them, or what it writes in x1.
 */
issue:
	mov	x27, x30
	ldr	w9, [x21, #OP_KIND]
	adr	x10, handlers
	add	x10, x10, x9, lsl #HANDLER_SHIFT
	ldr	w0, [x21, #OP_ID]
	ldp	x1, x2, [x21, #OP_X1]
	ldr	x3, [x21, #OP_X3]
	cmp	w9, #KIND_SPRAY
	b.eq	next_id
	b.hi	random_half
1:	count_op
	ldr	x14, [x19, #VCPU_TIMINGS]
	cbnz	x14, issue_timed
	blr	x10
	str	x0, [x21, #OP_ANSWER]
	ret	x27

/* The id of a range for this turn, of which OP_LEFT is already one less. */
next_id:
	ldr	x4, [x21, #OP_PER_ROUND]
	ldr	x5, [x21, #OP_LEFT]
	sub	x4, x4, #1
	sub	x4, x4, x5
	madd	x0, x3, x4, x0
	mov	x3, #0
	b	1b

/* An xorshift; bit 32 is always set, so that no upper half is 0. */
random_half:
	ldr	x4, [x19, #VCPU_RANDOM]
	eor	x4, x4, x4, lsl #13
	eor	x4, x4, x4, lsr #7
	eor	x4, x4, x4, lsl #17
	str	x4, [x19, #VCPU_RANDOM]
	bfxil	x4, x0, #0, #32
	orr	x0, x4, #(1 << 32)
	b	1b

	.macro	handler instruction:vararg
	\instruction
	ret
	.endm

#define READ(reg) handler mrs x0, reg;
#define WRITE(reg) handler msr reg, x1;
handlers:
	handler	hvc #0
	READ_REGISTERS(READ)
	WRITE_REGISTERS(WRITE)
	handler	nop
	handler	b tick_physical
	handler	b tick_virtual
	handler	hvc #0
	handler	hvc #0

#include "guest_tick.S"
#include "guest_timing.S"
#include "guest_clock.S"

fault:
	load_constant x9, MMIO_BASE
	mrs	x10, esr_el1
	str	x10, [x9, #MMIO_ESR]
	mrs	x10, elr_el1
	str	x10, [x9, #MMIO_ELR]
	mrs	x10, far_el1
	str	x10, [x9, #MMIO_FAR]
1:	wfi
	b	1b

	.balign	2048
vectors:
	.rept	16
	.balign	128
	b	fault
	.endr

	.org	IMAGE_TABLE
	.quad	BLOCK_DEVICE
	.quad	RAM_BASE | BLOCK_NORMAL
	.org	IMAGE_SIZE
