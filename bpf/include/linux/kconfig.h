/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this first of all and refuses kernels without the bpf system call. */
#define CONFIG_BPF_SYSCALL 1
