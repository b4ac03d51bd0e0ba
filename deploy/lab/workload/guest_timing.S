/* SPDX-License-Identifier: GPL-2.0-only */
/* What an operation costs the guest, by its own virtual counter; a part of guest.S. */

/* The end of `issue`, with the handler in x10 and this vCPU's timings at x14. */
issue_timed:
	isb
	mrs	x11, cntvct_el0
	blr	x10
	isb
	mrs	x12, cntvct_el0
	str	x0, [x21, #OP_ANSWER]
	sub	x12, x12, x11

	sub	x13, x21, x19
	sub	x13, x13, #VCPU_OPS
	lsr	x13, x13, #OP_SHIFT
	load_constant x15, TIMING_SIZE
	madd	x13, x13, x15, x14
	ldp	x14, x15, [x13, #TIMING_COUNT]
	add	x14, x14, #1
	add	x15, x15, x12
	stp	x14, x15, [x13, #TIMING_COUNT]
	ldp	x14, x15, [x13, #TIMING_MIN]
	cmp	x12, x14
	csel	x14, x12, x14, lo
	cmp	x12, x15
	csel	x15, x12, x15, hi
	stp	x14, x15, [x13, #TIMING_MIN]

	mov	x14, #((1 << (TIMING_TOP_BIT + 1)) - 1)
	cmp	x12, x14
	csel	x12, x12, x14, lo
	/* x15: doublings above the buckets of one tick */
	orr	x15, x12, #(1 << TIMING_SUB_BITS)
	clz	x15, x15
	mov	x14, #(63 - TIMING_SUB_BITS)
	sub	x15, x14, x15
	lsr	x16, x12, x15
	add	x16, x16, x15, lsl #TIMING_SUB_BITS
	add	x13, x13, #TIMING_BUCKETS
	ldr	w14, [x13, x16, lsl #2]
	add	w14, w14, #1
	str	w14, [x13, x16, lsl #2]
	ret	x27

/* What timing costs by itself: nothing, timed as everything else is. */
time_nothing:
	mov	x28, x30
	ldr	x9, [x19, #VCPU_TIMINGS]
	cbz	x9, 2f
	use_slot SLOT_EMPTY
	mov	x24, #EMPTY_TIMINGS
1:	bl	issue
	subs	x24, x24, #1
	b.ne	1b
2:	ret	x28
