# SPDX-License-Identifier: GPL-2.0-only
"""deploy/prometheus by Prometheus' own checker: rules, their tests, and configurations."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.contract.dashboards import (
    DASHBOARDS,
    PROMETHEUS,
    REPOSITORY,
    metrics_in,
    panel_queries,
    promtool,
    rules,
)

ALERTS = [rule for rule in rules() if rule.alert]
RULE_TESTS = sorted((REPOSITORY / "tests" / "rules").glob("*.yml"))
CONFIGURATIONS = sorted(PROMETHEUS.glob("prometheus-*.yml"))
KUBERNETES = PROMETHEUS / "prometheus-kubernetes.yml"

# level:metric:operations, where a level names the labels that are left.
RECORDED = re.compile(
    r"(instance|vm)(_le|_timer)?:lpttrace_[a-z_]+:(count|(\w+_)?(rate5m|avg6h)|mean5m)"
)


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    files = (PROMETHEUS / "rules").glob("*.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", *files)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def expectations() -> Iterator[tuple[str, bool]]:
    for path in RULE_TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for at in case.get("alert_rule_test", ()):
                yield at["alertname"], bool(at["exp_alerts"])


def test_every_alert_has_a_test_that_fires_it_and_one_that_does_not() -> None:
    assert set(expectations()) == {(rule.name, fires) for rule in ALERTS for fires in (True, False)}


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    """GitHub's anchors: the heading in small letters."""
    text = (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (Lpttrace\w+)$", text, re.MULTILINE)
    assert headings == [rule.name for rule in ALERTS]
    for rule in ALERTS:
        link = f"{{{{ $externalLabels.runbook_base }}}}docs/runbook.md#{rule.name.lower()}"
        assert rule.annotations["runbook_url"] == link
        entry = text.split(f"## {rule.name}\n")[1].split("\n## ")[0]
        parts = ("**Means**", "**Look at**", "**Do**", "**False alarm**")
        assert all(part in entry for part in parts), rule.name


def test_recorded_series_are_named_as_prometheus_has_it() -> None:
    for rule in rules():
        assert rule.alert or RECORDED.fullmatch(rule.name), rule.name


def without_discovery(path: Path, pods: list[dict[str, str]], directory: Path) -> Path:
    """A configuration whose pods are written down: Debian's Prometheus has no Kubernetes in it."""
    config = yaml.safe_load(path.read_text())
    (scrape,) = config["scrape_configs"]
    assert [found["role"] for found in scrape.pop("kubernetes_sd_configs")] == ["pod"]
    scrape["static_configs"] = [{"targets": ["192.0.2.7:9753"], "labels": pod} for pod in pods]
    # check looks for rules beside the file.
    shutil.copytree(PROMETHEUS / "rules", directory / "rules")
    copy = directory / path.name
    copy.write_text(yaml.safe_dump(config))
    return copy


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configurations_are_valid(path: Path, tmp_path: Path) -> None:
    file = without_discovery(path, [], tmp_path) if path == KUBERNETES else path
    promtool("check", "config", file)


POD = {
    "__meta_kubernetes_pod_container_port_name": "metrics",
    "__meta_kubernetes_pod_node_name": "node-1",
    "__meta_kubernetes_pod_phase": "Running",
}


def test_a_pod_is_known_by_its_node_and_others_are_not_scraped(tmp_path: Path) -> None:
    done = {**POD, "__meta_kubernetes_pod_phase": "Succeeded"}
    debug = {**POD, "__meta_kubernetes_pod_container_port_name": "debug"}
    file = without_discovery(KUBERNETES, [POD, done, debug], tmp_path)
    # It takes all of the time that it is given.
    text = promtool("check", "service-discovery", "--timeout=5s", file, "lpttrace")
    found = json.loads(text)
    assert len(found) == 3
    (kept,) = (target["labels"] for target in found if target.get("labels"))
    wanted = {"__address__": "192.0.2.7:9753", "instance": "node-1", "job": "lpttrace"}
    assert wanted.items() <= kept.items()


def test_what_is_sent_away_is_what_the_fleet_dashboard_needs() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus-remote-write.yml").read_text())
    (keep,) = config["remote_write"][0]["write_relabel_configs"]
    kept = re.compile(keep["regex"])
    (fleet,) = (path for path in DASHBOARDS if path.stem == "lpttrace-fleet")
    needed = set().union(*(metrics_in(query.expr) for query in panel_queries(fleet)))
    assert {name for name in needed if not kept.fullmatch(name)} == set()
    assert not kept.fullmatch("lpttrace_hypercalls_total")
    assert not kept.fullmatch("lpttrace_timer_lateness_seconds_bucket")
