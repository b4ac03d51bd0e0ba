# SPDX-License-Identifier: GPL-2.0-only
"""The command line of the agent: `lpttrace serve` and `lpttrace unload`."""

from __future__ import annotations

import typer

from lpttrace.cli_config import configure, given
from lpttrace.cli_guard import guarded
from lpttrace.cli_options import (
    LPT_SYMBOL_OPTION,
    MAX_VCPUS,
    NOT_PATTERNS,
    PATTERNS,
    PER_VCPU,
    PIN_DIR,
    PIN_DIR_OF_AGENT,
    SYNTHETIC,
)
from lpttrace.config import CONFIG_FILE

__all__ = ["register"]

_SERVE_EPILOG = """Prometheus gets text or OpenMetrics, as it asks for. A line on stderr says when
it is ready. SIGTERM and Ctrl-C end it with status 0.

FILE has these options by their long names, as TOML: listen = ":9753". What is on the command
line goes before. SIGHUP has the file read again: vm, not-vm, per-vcpu and created take effect at
once, the others with a restart; a file with a mistake is told and changes nothing.

Once everything is attached, it keeps of its privileges what reading needs: CAP_BPF,
CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.

Counting goes on in the kernel after SIGTERM, a crash or an upgrade, and the next `serve` takes it
over: no event is lost and no counter begins anew. Ctrl-C, `lpttrace unload` and a reboot end it.
`lpttrace top` beside it reads what it has attached.

With --per-vm a VM has the series of one vCPU, with the sums; names stay. PATTERN is that of
`lpttrace top --vm`. --not-vm goes before --vm. What is left out is counted all the same.

--created gives every counter a second series, NAME_created: when it was 0. That is when its vCPU,
or with --per-vm its VM, was first seen, and of what is about no VM, when lpttrace was attached (of
scrapes and refused clients, when this agent began); a function that a guest first calls later has
its vCPU's time too. Prometheus makes use of it (a counter that is new begins at 0, not at what it
is first seen with) with the feature created-timestamp-zero-ingestion; without that it only doubles
what is stored.

\b
Examples:
  lpttrace serve
  lpttrace serve --listen :9753
  lpttrace serve --per-vm --not-vm 'test-*'
  lpttrace serve --replay run.lpt
  lpttrace serve --listen :9753 --web-config-file /etc/lpttrace/web-config.yml
  curl -s http://127.0.0.1:9753/metrics
  curl -s http://127.0.0.1:9753/-/healthy"""

_UNLOAD_EPILOG = """Counters begin at zero again with the next `lpttrace serve`.

\b
Examples:
  lpttrace unload"""


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command(epilog=_SERVE_EPILOG)(serve)
    app.command(epilog=_UNLOAD_EPILOG)(unload)


_CONFIG = typer.Option(
    "",
    "--config",
    metavar="FILE",
    is_eager=True,
    callback=configure,
    help=f"Options as a file, instead of {CONFIG_FILE}, which may be absent.",
)


def serve(
    context: typer.Context,
    config: str = _CONFIG,
    listen: str = typer.Option(
        "127.0.0.1:9753", "--listen", metavar="ADDRESS:PORT", help="Where to listen for HTTP."
    ),
    web_config_file: str = typer.Option(
        "",
        "--web-config-file",
        metavar="FILE",
        help="TLS, users and client certificates, in the format that Prometheus exporters share.",
    ),
    per_vcpu: bool = PER_VCPU,
    patterns: list[str] = PATTERNS,
    not_patterns: list[str] = NOT_PATTERNS,
    created: bool = typer.Option(
        False, "--created", help="Tell in OpenMetrics when counters were 0; doubles the series."
    ),
    bpf_stats: bool = typer.Option(
        False,
        "--bpf-stats",
        help="Time our BPF programs; while it runs, the kernel times all BPF programs of the host.",
    ),
    max_vcpus: int = MAX_VCPUS,
    lpt_symbol: str = LPT_SYMBOL_OPTION,
    synthetic: str = SYNTHETIC,
    replay: str = typer.Option(
        "", "--replay", metavar="FILE", help="Serve what `record` has recorded, as if it were now."
    ),
    pin_dir: str = PIN_DIR,
    keep: bool = typer.Option(
        True, "--keep/--no-keep", help="Go on counting in the kernel between two runs."
    ),
) -> None:
    """Serve metrics for Prometheus over HTTP."""

    def body() -> int:
        from lpttrace.cli_agent import become_agent
        from lpttrace.cli_serve import ServeOptions
        from lpttrace.cli_source import SourceOptions
        from lpttrace.exporter_view import View

        traced = SourceOptions(
            max_vcpus, lpt_symbol, synthetic, pin_dir, bpf_stats=bpf_stats, replay=replay
        )
        view = View(per_vcpu, tuple(patterns), tuple(not_patterns), created)
        how = (view, keep, web_config_file, config, given(context))
        return become_agent(ServeOptions(listen, traced, *how))

    raise typer.Exit(guarded(body))


def unload(pin_dir: str = PIN_DIR_OF_AGENT) -> None:
    """Remove from the kernel what a `serve` that has ended left counting there."""

    def body() -> int:
        from lpttrace import cli_serve

        return cli_serve.unload(pin_dir)

    raise typer.Exit(guarded(body))
