# SPDX-License-Identifier: GPL-2.0-only
"""Records a workload in the lab's machine, alone and beside an agent; the files come as base64.

Usage: recording.py LABVMM_ARGUMENTS... Standard library only.
"""

from __future__ import annotations

import base64
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TRUTH = Path("/tmp/truth.json")


def record(name: str, arguments: list[str]) -> dict[str, Any]:
    path = Path(f"/tmp/{name}.lpt")
    inner = f"exec labvmm {shlex.join(arguments)} > {TRUTH}"
    command = ["lpttrace", "record", "-o", str(path), "--interval", "500ms", "--"]
    done = subprocess.run([*command, "sh", "-c", inner], capture_output=True, text=True)
    truth, _ = json.JSONDecoder().raw_decode(TRUTH.read_text())
    return {
        "status": done.returncode,
        "stderr": done.stderr,
        "truth": truth,
        "recording": base64.b64encode(path.read_bytes()).decode(),
    }


def main(arguments: list[str]) -> None:
    report = {"alone": record("alone", arguments)}
    with subprocess.Popen(["lpttrace", "serve"], stderr=subprocess.PIPE, text=True) as serve:
        assert serve.stderr
        while not serve.stderr.readline().startswith("listening"):
            assert serve.poll() is None
        report["beside"] = record("beside", arguments)
        serve.send_signal(signal.SIGINT)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
