# SPDX-License-Identifier: GPL-2.0-only
"""Every query of every dashboard and rule in a real Prometheus that scrapes four agents."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.dashboards import (
    DASHBOARDS,
    Query,
    annotation_queries,
    panel_queries,
    rules,
    variables,
)
from tests.lab.prometheus import AGENTS, Prometheus, agents, configure, prometheus

# What a user has chosen: all hosts, and of VMs the one whose guest is busiest. All of it is in the
# last minutes.
CHOSEN = {
    "cluster": ".*",
    "instance": ".*",
    "release": ".*",
    "vm": "1003",
    "vcpu": "1",
    "__rate_interval": "5m",
}

_UNTIMED = "what is made up runs no BPF program"
_ENDLESS = "what is made up takes no slot; real hosts show it (test_prometheus_lab)"
_HEALTHY = "structures that are made up are right"
_PHYSICAL = "guests that are made up use the physical timer"
_WEEK = "nothing is a week old here"

# What has no data, and why. All other queries have some.
EMPTY = {
    "lpttrace-vm: What was wrong with its LPT structure / A": _HEALTHY,
    "lpttrace-lpt: Structures that are wrong / A": _HEALTHY,
    "lpttrace-host: Traps per timer interrupt / B": _PHYSICAL,
    "lpttrace-host: Service time per timer interrupt / B": _PHYSICAL,
    "lpttrace-vm: Traps per timer interrupt / B": _PHYSICAL,
    "lpttrace-vm: Service time per timer interrupt / B": _PHYSICAL,
    "lpttrace-vcpu: Traps per timer interrupt / B": _PHYSICAL,
    "lpttrace-vcpu: Service time per timer interrupt / B": _PHYSICAL,
    "lpttrace-fleet: Cost of a timer trap against last week / A": _WEEK,
    "lpttrace-fleet: Timer traps of a vCPU against last week / A": _WEEK,
    "lpttrace-vm: LPT updates that failed": "the chosen VM's update was published",
    "lpttrace-vcpu: LPT updates that failed": "the chosen VM's update was published",
    "lpttrace-lpt: LPT updates that failed": "the chosen VM's update was published",
    "lpttrace-agent: Slots and records in use / A": _ENDLESS,
    "lpttrace-agent: Slots and records in use / B": _ENDLESS,
    "lpttrace-agent: CPU time of the BPF programs / A": _UNTIMED,
    "lpttrace-agent: Time of one run of a BPF program / A": _UNTIMED,
    "rule: vm_timer:lpttrace_timer_traps:rate5m virtual": _PHYSICAL,
    "rule: vm:lpttrace_unknown_hypercalls:rate5m": "guests that are made up know their functions",
    "alert: LpttraceAgentDown": "all agents are up",
    "alert: LpttraceAgentGone": "all agents are targets",
    "alert: LpttraceProbeLost": "what is attached stays so",
    "alert: LpttraceMapFull": "there is room",
    "alert: LpttraceLptWrong": _HEALTHY,
    "alert: LpttraceTimerTrapRateRegressed": _WEEK,
    "alert: LpttraceTimerTrapCostRegressed": _WEEK,
    "alert: LpttraceTimerTrapsPerInterruptHigh": "it is 5",
    "alert: LpttraceStolenTimeHigh": "it is less than 1 %",
    "alert: LpttraceUnknownHypercallStorm": "guests that are made up know their functions",
}

# What takes longest to have a rate: of 60 hypercalls a second, one of 1000 is kept apart.
LAST = 'lpttrace_hypercalls_apart_total{vm="1003",vcpu="1"}'
MOST_SCRAPES = 200


def chosen(expr: str) -> str:
    """The expression as Grafana sends it."""
    return re.sub(r"\$(\w+)", lambda name: CHOSEN[name[1]], expr)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Where the server sends what is to be kept."""
    directory = tmp_path_factory.mktemp("store")
    config = directory / "prometheus.yml"
    config.write_text("global: {}\n")
    with prometheus(directory, config, "--web.enable-remote-write-receiver") as running:
        yield running


@pytest.fixture(scope="module")
def server(store: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with agents(directory) as addresses:
        config = configure(directory / "etc", addresses, store.url)
        with prometheus(directory, config) as running:
            wait(running)
            yield running


def wait(server: Prometheus) -> None:
    """Until there is a rate of everything, and recorded and judged by the rules."""
    ready = f'count(rate({LAST}[5m]) > 0) == 2 and on () count(ALERTS{{alertstate="firing"}})'
    while not server.query(ready):
        scrapes = server.query('max(count_over_time(up{job="lpttrace"}[1h])) or vector(0)')
        assert float(scrapes[0]["value"][1]) < MOST_SCRAPES
        time.sleep(0.5)


QUERIES = [
    *(query for path in DASHBOARDS for query in panel_queries(path)),
    *(query for path in DASHBOARDS for query in annotation_queries(path)),
    *(Query(*rule.place, rule.expr) for rule in rules()),
]


def test_the_table_names_queries_that_exist() -> None:
    assert set(EMPTY) <= {query.id for query in QUERIES}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_queries_return_data_where_data_is_due(query: Query, server: Prometheus) -> None:
    series = server.query(chosen(query.expr))
    assert bool(series) == (query.id not in EMPTY)
    for one in series:
        summed_up = {"vcpu"} if one["metric"].get("cluster") == "sums" else set()
        assert query.named - summed_up <= set(one["metric"])
    if "group_left (name)" in query.expr:
        assert all(re.fullmatch(r"synthetic-\d", one["metric"]["name"]) for one in series)


def values(server: Prometheus, variable: dict[str, Any]) -> set[str]:
    """What a user can choose, as Grafana makes it of Prometheus' answers."""
    query = chosen(variable["query"])
    if found := re.fullmatch(r"label_values\((.*), (\w+)\)", query, re.DOTALL):
        return set(server.get(f"label/{found[2]}/values", **{"match[]": found[1]}))
    found = re.fullmatch(r"query_result\((.*)\)", query, re.DOTALL)
    assert found
    pattern = variable["regex"].strip("/").replace("(?<", "(?P<")
    texts = [
        "{" + ",".join(f'{k}="{v}"' for k, v in sorted(one["metric"].items())) + "} 1"
        for one in server.query(found[1])
    ]
    matches = [re.search(pattern, text) for text in texts]
    return {f"{match['text']}={match['value']}" for match in matches if match}


def test_variables_offer_what_there_is(server: Prometheus) -> None:
    offered: dict[str, set[str]] = {}
    for path in DASHBOARDS:
        for variable in variables(path):
            offered.setdefault(variable["name"], set()).update(values(server, variable))
    assert offered["cluster"] == set(AGENTS)
    assert len(offered["instance"]) == 4 and len(offered["release"]) == 2
    assert offered["vm"] == {f"synthetic-{index}={1001 + index}" for index in range(4)}
    assert offered["vcpu"] == {"0", "1"}


def test_hosts_are_compared_by_kernel(server: Prometheus) -> None:
    wanted = "lpttrace-fleet: Mean service time of a timer trap, by kernel / A"
    (query,) = (query for query in QUERIES if query.id == wanted)
    series = server.query(chosen(query.expr))
    means = {one["metric"]["release"]: float(one["value"][1]) for one in series}
    assert len(means) == 2 and any(release.startswith("2.6.") for release in means)
    assert all(1e-6 < mean < 10e-6 for mean in means.values())


def test_vcpus_are_counted_alike_where_they_are_summed_up(server: Prometheus) -> None:
    (query,) = (query for query in QUERIES if query.id == "lpttrace-host: vCPUs / A")
    for cluster in ("here", "sums"):
        (shown,) = server.query(chosen(query.expr.replace("$cluster", cluster)))
        (recorded,) = server.query(f'instance:lpttrace_vcpus:count{{cluster="{cluster}"}}')
        assert (shown["value"][1], recorded["value"][1]) == ("8", "8")


def test_only_the_host_that_lacks_probes_is_said_to(server: Prometheus) -> None:
    for query in QUERIES:
        if query.id.endswith("/ N") and query.source != "lpttrace-fleet":
            series = server.query(chosen(query.expr))
            assert {one["metric"]["cluster"] for one in series} == {"stock"}, query.id
            assert all(one["value"][1] == "NaN" for one in series)


def test_alerts_fire_for_the_vm_whose_update_failed(server: Prometheus) -> None:
    firing = server.query('ALERTS{alertstate="firing"}')
    labels = [one["metric"] for one in firing]
    # The one of the host without probes fires some minutes later.
    of_vms = [one for one in labels if one["alertname"] != "LpttraceAgentBlind"]
    told = {(one["alertname"], one["cluster"], one["name"]) for one in of_vms}
    assert told == {("LpttraceLptUpdateFailed", c, "synthetic-3") for c in ("here", "old", "sums")}


@pytest.fixture(scope="module")
def kept(server: Prometheus, store: Prometheus) -> Prometheus:
    """The store, as soon as it has what the server had when it was ready."""
    ago = time.time()
    for _ in range(MOST_SCRAPES):
        newest = store.query('min(timestamp(up{job="lpttrace"})) and on () count(ALERTS)')
        if newest and float(newest[0]["value"][1]) > ago:
            return store
        time.sleep(0.5)
    raise AssertionError(f"the store has {store.get('label/__name__/values')}")


@pytest.mark.parametrize(
    "query", [q for q in QUERIES if q.source == "lpttrace-fleet"], ids=lambda query: query.id
)
def test_the_fleet_dashboard_works_on_what_is_kept(query: Query, kept: Prometheus) -> None:
    assert bool(kept.query(chosen(query.expr))) == (query.id not in EMPTY)


def test_what_is_kept_is_little(kept: Prometheus) -> None:
    """docs/prometheus.md says how much: 70 series of a host, and 46 of a VM."""
    assert (
        kept.query('{vcpu!=""}')
        == kept.query('{function!=""}')
        == kept.query('{le!="",vm!=""}')
        == []
    )
    of_host = kept.query('count by (cluster) ({vm="",job="lpttrace"})')
    of_vm = kept.query('count by (cluster, vm) ({vm!="",job="lpttrace"})')
    assert len(of_host) == 4 and all(20 < float(one["value"][1]) < 75 for one in of_host)
    assert len(of_vm) == 13 and all(0 < float(one["value"][1]) <= 46 for one in of_vm)
    assert kept.query('count(up{prometheus="example-1"})')[0]["value"][1] == "4"


def test_the_first_update_of_a_vm_is_on_the_graph(server: Prometheus) -> None:
    (query,) = (query for query in QUERIES if query.id == "lpttrace-lpt: LPT updates / A")
    expr = query.expr.replace("$vm", ".*").replace("$__rate_interval", "1h")
    updates = {
        one["metric"]["result"]: float(one["value"][1]) for one in server.query(chosen(expr))
    }
    counted = server.query("sum by (result) (lpttrace_lpt_updates_total)")
    assert updates == {one["metric"]["result"]: float(one["value"][1]) for one in counted}
    assert updates["published"] > 0
