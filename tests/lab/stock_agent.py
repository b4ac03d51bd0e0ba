# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace serve` as of a host where only kvm_entry can be attached: `python -m` runs it."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace

from lpttrace.exporter import MetricsServer, SnapshotCollector
from lpttrace.snapshot import Snapshot
from lpttrace.synthetic import SyntheticSource, identify


def main() -> None:
    """Until it is terminated."""
    source = SyntheticSource(1, 2)

    def read() -> Snapshot:
        snapshot = source.read()
        probes = (replace(probe, attached=probe.name == "kvm_entry") for probe in snapshot.probes)
        return replace(snapshot, probes=tuple(probes))

    with MetricsServer("127.0.0.1:0", SnapshotCollector(read, identify, "synthetic")) as server:
        print(f"listening on {server.url}", file=sys.stderr, flush=True)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
