#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# lpttrace top on the emulated patched host, under a workload: full screen on a terminal, three
# frames otherwise.
set -eu

here=$(dirname "$0")
"$here/../lab/lab" build lpt-6.1
echo "booting the emulated host; lpttrace attaches in about 15 seconds" >&2
exec "$here/../lab/lab" run --add "$here/guest.sh:/tmp/demo.sh" -- sh /tmp/demo.sh
