/* SPDX-License-Identifier: GPL-2.0-only */
/* Version tests in bcc's helpers choose helpers that are not used. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	KERNEL_VERSION(5, 8, 0)
