/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest: every vCPU enters at _start with the address of its struct guest_vcpu in x0, does its
 * rounds and turns itself off. It has no stack: x29, x28, x27 hold the return addresses of the
 * three levels of calls. x19: this vCPU's area, x20: the VM's, x21: the operation at hand.
 */
#include "guest_layout.h"

#define HANDLER_SHIFT 6

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
	ldr	x9, [x19, #VCPU_BOOT]
	cbz	x9, secondary
	bl	lpt_ask
	bl	secondaries_on
	bl	stolen_ask
	bl	do_rounds
	add	x1, x20, #VM_COUNTERS_END
	bl	lpt_sample
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
	bl	lpt_sample
1:	ret	x29

/* Stores this moment's virtual counter and its conversion to the PV counter at x1. */
lpt_sample:
	ldr	x0, [x20, #VM_LPT_IPA]
	cbz	x0, 2f
1:	ldr	x2, [x0, #LPT_SEQUENCE_NUMBER]
	dmb	ishld
	ldp	x4, x5, [x0]
	ldp	x6, x7, [x0, #16]
	ldp	x8, x9, [x0, #32]
	dmb	ishld
	ldr	x3, [x0, #LPT_SEQUENCE_NUMBER]
	cmp	x2, x3
	b.ne	1b
	add	x3, x20, #VM_LPT_COPY
	stp	x4, x5, [x3]
	stp	x6, x7, [x3, #16]
	stp	x8, x9, [x3, #32]
	ldr	x4, [x3, #LPT_SCALE_MULT]
	ldr	w5, [x3, #LPT_FRACBITS]
	isb
	mrs	x2, cntvct_el0
	mul	x6, x2, x4
	umulh	x7, x2, x4
	lsr	x6, x6, x5
	/* the high half moves left by 64 - fracbits: by 1, then by 63 - fracbits */
	lsl	x7, x7, #1
	mvn	x5, x5
	lsl	x7, x7, x5
	orr	x6, x6, x7
	stp	x2, x6, [x1]
2:	ret

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
	bl	one_round
	ldr	x10, [x19, #VCPU_ROUNDS]
	add	x10, x10, #1
	str	x10, [x19, #VCPU_ROUNDS]
	ldr	x9, [x20, #VM_PAUSE]
	cbz	x9, next_round
	mmio_exit MMIO_PAUSE
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

/* Does the operation at x21 once; its answer is left in x0. */
issue:
	mov	x27, x30
	ldr	w9, [x21, #OP_KIND]
	adr	x10, handlers
	add	x10, x10, x9, lsl #HANDLER_SHIFT
	blr	x10
	str	x0, [x21, #OP_ANSWER]
	ret	x27

	.balign	(1 << HANDLER_SHIFT)
handlers:
	ldr	w0, [x21, #OP_ID]
	ldp	x1, x2, [x21, #OP_X1]
	ldr	x3, [x21, #OP_X3]
	count_op
	hvc	#0
	ret

	.macro	read_handler reg
	.balign	(1 << HANDLER_SHIFT)
	count_op
	mrs	x0, \reg
	ret
	.endm

	.macro	write_handler reg
	.balign	(1 << HANDLER_SHIFT)
	ldr	x0, [x21, #OP_X1]
	count_op
	msr	\reg, x0
	ret
	.endm

#define READ(reg) read_handler reg;
#define WRITE(reg) write_handler reg;
	READ_REGISTERS(READ)
	WRITE_REGISTERS(WRITE)

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
