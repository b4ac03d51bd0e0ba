/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc asks for it; its own bpf_log2() does not need it. */
