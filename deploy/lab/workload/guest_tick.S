/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An interrupt of a timer, a part of guest.S. Interrupts stay masked here (PSTATE.I): one that is
 * pending ends WFI all the same, and reading IAR takes it.
 */
#define GICD_CTLR_GROUP1 2
#define GICR_IGROUPR0	 0x080
#define GICR_ISENABLER0	 0x100
#define ANY_PRIORITY	 0xff
#define NO_INTERRUPT	 1023

/*
 * Sets the timer x1 ticks ahead, waits for its interrupt, turns it off and adds to the answer by
 * how much the deadline had passed. The first wait of two is a loop, the second one WFI: to a host
 * the one ends while the vCPU runs, the other while it sleeps. x11 is the caller's.
 */
	.macro	tick intid, counter, cval, ctl
	load_constant x2, GIC_DIST_BASE
	mov	w3, #GICD_CTLR_GROUP1
	str	w3, [x2]
	ldr	x2, [x19, #VCPU_REDIST]
	mov	w3, #(1 << \intid)
	str	w3, [x2, #GICR_IGROUPR0]
	str	w3, [x2, #GICR_ISENABLER0]
	mov	x3, #ANY_PRIORITY
	msr	icc_pmr_el1, x3
	mov	x3, #1
	msr	icc_igrpen1_el1, x3
	isb
	mrs	x2, \counter
	add	x2, x2, x1
	msr	\cval, x2
	msr	\ctl, x3
	isb
	ldr	x6, [x21, #OP_COUNT]
1:	tbnz	x6, #0, 2f
	wfi
2:	mrs	x3, icc_iar1_el1
	isb
	mrs	x4, \counter
	cmp	w3, #NO_INTERRUPT
	b.eq	1b
	cmp	w3, #\intid
	b.eq	3f
	brk	#4
3:	mov	x5, #2
	msr	\ctl, x5
	isb
	msr	icc_eoir1_el1, x3
	isb
	ldr	x0, [x21, #OP_ANSWER]
	sub	x4, x4, x2
	add	x0, x0, x4
	ret
	.endm

tick_physical:
	tick	30, cntpct_el0, cntp_cval_el0, cntp_ctl_el0

tick_virtual:
	tick	27, cntvct_el0, cntv_cval_el0, cntv_ctl_el0
