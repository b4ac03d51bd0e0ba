/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU's PV clock, a part of guest.S: the virtual counter, converted as the Live Physical Time
 * structure says.
 */

/* Stores this moment's virtual counter and PV counter at x1; nothing without a structure. */
clock_sample:
	ldr	x0, [x20, #VM_LPT_IPA]
	cbz	x0, 9f
	add	x3, x19, #VCPU_CLOCK
1:	ldr	x2, [x0, #LPT_SEQUENCE_NUMBER]
	ldr	x4, [x3, #LPT_SEQUENCE_NUMBER]
	cmp	x2, x4
	b.eq	2f
	dmb	ishld
	ldp	x4, x5, [x0]
	ldp	x6, x7, [x0, #16]
	ldp	x8, x9, [x0, #32]
	dmb	ishld
	stp	x4, x5, [x3]
	stp	x6, x7, [x3, #16]
	stp	x8, x9, [x3, #32]
	ldr	x4, [x3, #CLOCK_REREADS]
	add	x4, x4, #1
	str	x4, [x3, #CLOCK_REREADS]
2:	isb
	mrs	x2, cntvct_el0
	isb
	/* A migration may have come between the structure and the counter. */
	ldr	x4, [x0, #LPT_SEQUENCE_NUMBER]
	ldr	x5, [x3, #LPT_SEQUENCE_NUMBER]
	cmp	x4, x5
	b.ne	1b
	ldr	x4, [x3, #LPT_SCALE_MULT]
	ldr	w5, [x3, #LPT_FRACBITS]
	mul	x6, x2, x4
	umulh	x7, x2, x4
	lsr	x6, x6, x5
	/* the high half moves left by 64 - fracbits: by 1, then by 63 - fracbits */
	lsl	x7, x7, #1
	mvn	x5, x5
	lsl	x7, x7, x5
	orr	x6, x6, x7
	stp	x2, x6, [x1]

	mrs	x4, cntv_cval_el0
	str	x4, [x3, #CLOCK_DEADLINE]
	ldr	x4, [x3, #CLOCK_SAMPLES]
	add	x4, x4, #1
	str	x4, [x3, #CLOCK_SAMPLES]
	ldr	x4, [x3, #CLOCK_LAST]
	str	x6, [x3, #CLOCK_LAST]
	subs	x4, x4, x6
	b.ls	9f
	ldp	x5, x6, [x3, #CLOCK_BACKWARDS]
	add	x5, x5, #1
	cmp	x4, x6
	csel	x6, x4, x6, hi
	stp	x5, x6, [x3, #CLOCK_BACKWARDS]
9:	ret

/* Enabled and masked: it runs out without an interrupt, which this guest could not take. */
arm_deadline:
	ldr	x9, [x20, #VM_DEADLINE]
	cbz	x9, 1f
	isb
	mrs	x10, cntvct_el0
	add	x9, x9, x10
	msr	cntv_cval_el0, x9
	mov	x9, #3
	msr	cntv_ctl_el0, x9
1:	ret
