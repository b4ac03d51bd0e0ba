# SPDX-License-Identifier: GPL-2.0-only
"""Two lab hosts scraped by one real Prometheus: every query of dashboards and rules on real traps.

The lab's machines have no network: what their agents answered once a second is answered again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.contract.dashboards import Query
from tests.lab.conftest import LabRun
from tests.lab.prometheus import Prometheus, configure, prometheus
from tests.lab.test_prometheus import QUERIES

HOSTS = {"old": "lpt-6.1", "new": "lpt-6.12"}
CHOSEN = {"cluster": ".*", "instance": ".*", "release": ".*", "vcpu": "0", "__rate_interval": "5m"}

_HEALTHY = "nothing is wrong with what these kernels publish"
_ATTACHED = "on these hosts everything is attached"
_WEEK = "nothing is a week old here"
_PHYSICAL = "Linux here uses the physical timer, and nobody traps on the virtual one"

# What has no data for any VM of these hosts, and why. All other queries have some.
EMPTY = {
    "lpttrace-vm: What was wrong with its LPT structure / A": _HEALTHY,
    "lpttrace-lpt: Structures that are wrong / A": _HEALTHY,
    "lpttrace-lpt: Structure last published, by VM / C": "no VM here has come from another host",
    "lpttrace-fleet: Cost of a timer trap against last week / A": _WEEK,
    "lpttrace-fleet: Timer traps of a vCPU against last week / A": _WEEK,
    "rule: vm_timer:lpttrace_timer_traps:rate5m virtual": _PHYSICAL,
    "alert: LpttraceAgentDown": "both answer",
    "alert: LpttraceAgentGone": "both answer",
    "alert: LpttraceAgentBlind": _ATTACHED,
    "alert: LpttraceProbeLost": _ATTACHED,
    "alert: LpttraceMapFull": "there is room",
    "alert: LpttraceLptWrong": _HEALTHY,
    "alert: LpttraceTimerTrapRateRegressed": _WEEK,
    "alert: LpttraceTimerTrapCostRegressed": _WEEK,
    "alert: LpttraceTimerTrapsPerInterruptHigh": "they are fewer than 15",
}
EMPTY.update(
    {
        f"lpttrace-{board}: {panel} per timer interrupt / B": _PHYSICAL
        for board in ("host", "vm", "vcpu")
        for panel in ("Traps", "Service time")
    }
)
# Which hosts lack a probe: a legend of every panel, and a table.
EMPTY.update(
    {
        query.id: _ATTACHED
        for query in QUERIES
        if query.id.endswith((" / N", ": What these hosts cannot show / A"))
    }
)

# How much is stolen depends on how busy the machine is that emulates the hosts.
STOLEN = "alert: LpttraceStolenTimeHigh"
STOLEN_SHARE, WINDOW_SECONDS = 0.1, 300


class Recorded(ThreadingHTTPServer):
    """Gives the answers one after another, and then the last one."""

    def __init__(self, answers: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.given = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorded

    def do_GET(self) -> None:
        answer = self.server.answers[min(self.server.given, len(self.server.answers) - 1)]
        self.server.given += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering(answers: Sequence[str]) -> Iterator[Recorded]:
    with Recorded(answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def scrapes(lab: Callable[[list[str], list[str]], LabRun]) -> Mapping[str, list[str]]:
    """By cluster; of both machines at once."""
    command = ["python3", "/tmp/guest/scrapes.py"]

    def run(kernel: str) -> list[str]:
        done = lab(["--kernel", kernel, "--timeout", "1200"], command)
        assert done.status == 0, done.stderr
        answers: list[str] = json.loads(done.stdout)
        return answers

    with ThreadPoolExecutor() as pool:
        return dict(zip(HOSTS, pool.map(run, HOSTS.values())))


@pytest.fixture(scope="module")
def server(
    scrapes: Mapping[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        hosts = {c: stack.enter_context(answering(answers)) for c, answers in scrapes.items()}
        config = configure(directory / "etc", {c: host.address for c, host in hosts.items()})
        running = stack.enter_context(prometheus(directory, config))
        while any(host.given < len(host.answers) for host in hosts.values()):
            time.sleep(0.5)
        # Rules are evaluated every second, over what has come by now.
        time.sleep(2)
        yield running


@pytest.fixture(scope="module")
def vms(scrapes: Mapping[str, list[str]]) -> list[str]:
    """Labels of all that there are."""
    found = [
        re.findall(r'^lpttrace_vm_info{.*\bvm="([^"]+)"', s[-1], re.M) for s in scrapes.values()
    ]
    assert all(len(labels) == 4 for labels in found)
    return sorted({label for labels in found for label in labels})


def asked(query: Query, vm: str) -> str:
    values = {**CHOSEN, "vm": vm}
    return re.sub(r"\$(\w+)", lambda name: values[name[1]], query.expr)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_queries_return_data_where_data_is_due(
    query: Query, server: Prometheus, vms: list[str], scrapes: Mapping[str, list[str]]
) -> None:
    of_any = [server.query(asked(query, vm)) for vm in (vms if "$vm" in query.expr else vms[:1])]
    if query.id == STOLEN:
        assert any(of_any) == (most_stolen(scrapes) > STOLEN_SHARE)
    else:
        assert any(of_any) == (query.id not in EMPTY)


def most_stolen(scrapes: Mapping[str, list[str]]) -> float:
    """Of any vCPU, the share of the rules' window, as Prometheus has it from these answers."""

    def stolen(answer: str) -> Mapping[str, float]:
        found = re.findall(r"^lpttrace_stolen_seconds_total({.*}) (\S+)$", answer, re.M)
        return {labels: float(value) for labels, value in found}

    increases = [
        # What came before the first answer and after the last one is taken to be alike.
        (stolen(answers[-1])[labels] - before) * len(answers) / (len(answers) - 1)
        for answers in scrapes.values()
        for labels, before in stolen(answers[0]).items()
    ]
    return max(increases) / WINDOW_SECONDS


def test_the_table_names_queries_that_exist() -> None:
    assert {STOLEN, *EMPTY} <= {query.id for query in QUERIES}


def test_hosts_are_compared_by_kernel(server: Prometheus) -> None:
    wanted = "lpttrace-fleet: Mean service time of a timer trap, by kernel / A"
    (query,) = (query for query in QUERIES if query.id == wanted)
    means = {o["metric"]["release"]: float(o["value"][1]) for o in server.query(asked(query, ""))}
    assert [release[:3] for release in sorted(means)] == ["6.1", "6.1"]
    assert len(means) == 2 and all(mean > 0 for mean in means.values())


@pytest.mark.parametrize("cluster", HOSTS)
def test_alerts_fire_for_what_is_wrong(server: Prometheus, cluster: str) -> None:
    firing = server.query(f'ALERTS{{alertstate="firing",cluster="{cluster}"}}')
    # Others want what they judge to last for minutes.
    assert "LpttraceLptUpdateFailed" in {one["metric"]["alertname"] for one in firing}


def test_traps_per_interrupt_of_a_linux_guest(server: Prometheus) -> None:
    by_vm = server.query(
        "max by (cluster) (vm_timer:lpttrace_timer_traps:rate5m{timer='physical'}"
        " / vm_timer:lpttrace_timer_interrupts:rate5m{timer='physical'} > 0)"
    )
    assert len(by_vm) == 2
    assert all(3 < float(one["value"][1]) < 20 for one in by_vm)
