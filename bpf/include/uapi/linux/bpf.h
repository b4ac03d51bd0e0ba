/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc brings its own linux/bpf.h before asking for this one. */
