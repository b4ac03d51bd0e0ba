/* SPDX-License-Identifier: GPL-2.0-only */
/* What a kprobe hands to a program; bcc's PT_REGS_PARM1() and the like name its members. */
#ifndef LPTTRACE_STUB_PTRACE_H
#define LPTTRACE_STUB_PTRACE_H

#if defined(__aarch64__)
struct pt_regs {
	unsigned long long regs[31];
	unsigned long long sp;
	unsigned long long pc;
	unsigned long long pstate;
};
#elif defined(__x86_64__)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#else
#error "lpttrace measures arm64 hosts; on x86-64 the programs load, for tests"
#endif

#endif
