/* SPDX-License-Identifier: GPL-2.0-only */
/* Included by bcc's bpf.h for instruction encodings, which no program names. */
#include <linux/types.h>
