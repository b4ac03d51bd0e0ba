/* SPDX-License-Identifier: GPL-2.0-only */
	.section .rodata
	.balign	16
	.global	linux_init, linux_init_end
linux_init:
	.incbin	"init"
linux_init_end:

	.section .note.GNU-stack, "", %progbits
