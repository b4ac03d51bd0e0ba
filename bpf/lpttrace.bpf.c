// SPDX-License-Identifier: GPL-2.0-only
/*
 * All programs as one unit, so that they share the maps. bcc rewrites map accesses in the text it
 * is given only, not in what that includes: lpttrace/loader.py puts our own includes in place.
 */
#include "run.bpf.c"
#include "hypercall.bpf.c"
#include "timer_trap.bpf.c"
#include "timer_interrupt.bpf.c"
#include "stolen_time.bpf.c"
#include "lpt_update.bpf.c"
#include "vm_attr.bpf.c"
