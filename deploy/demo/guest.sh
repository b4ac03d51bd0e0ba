#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Runs in the lab's machine. Three VMs: one traps its timer, one uses LPT, one mostly idles. They start
# when lpttrace is attached, so that it sees the LPT update.
set -eu

if [ "${1:-}" = workload ]; then
	exec labvmm --fork --forever --pause-us 50000 \
		--vm vcpus=2 --vm vcpus=1,lpt=on,pv-freq=100000000 --vm vcpus=1 \
		--ops '0.*:read:cntp_ctl_el0=2,write:cntp_ctl_el0=1,write:cntp_cval_el0=2,hvc:0x84000000=1' \
		--ops '1.*:hvc:0xc5000022=1,hvc:0x80000001=3' \
		--ops '2.*:hvc:0x84000000=1' >/dev/null
fi

if [ -t 0 ] && [ -t 1 ]; then
	exec lpttrace top -- sh "$0" workload
fi
exec lpttrace top --batch --count 3 --interval 2 -- sh "$0" workload
