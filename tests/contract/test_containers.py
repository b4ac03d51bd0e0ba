# SPDX-License-Identifier: GPL-2.0-only
"""The container file, its seccomp profile and the manifests: of the project, and of each other."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lpttrace import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# In the order in which they may be used all together.
COMPONENTS = ("names", "linux-before-5.11", "pod-monitor", "seccomp", "tls")
OLD = "kubernetes-before-1.30"
Manifests = list[dict[str, Any]]


def built(directory: Path) -> Manifests:
    kubectl = REPOSITORY / "build/tools/kubectl"
    argv = [str(kubectl), "kustomize", str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def with_components(directory: Path, *names: str, base: str = "base") -> Manifests:
    """As of a kustomization of the user's own."""
    place = Path(os.path.relpath(KUBERNETES, directory))
    overlay = {
        "resources": [str(place / base)],
        "components": [str(place / "components" / name) for name in names],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return built(directory)


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return built(KUBERNETES / "base")


@pytest.fixture(scope="module")
def unload() -> Manifests:
    return built(KUBERNETES / "unload")


@pytest.fixture
def everything(tmp_path: Path) -> Manifests:
    return with_components(tmp_path, *COMPONENTS)


def one(manifests: Manifests, kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pod_of(manifests: Manifests) -> dict[str, Any]:
    pod: dict[str, Any] = one(manifests, "DaemonSet")["spec"]["template"]["spec"]
    return pod


def container_of(manifests: Manifests) -> dict[str, Any]:
    (container,) = pod_of(manifests)["containers"]
    found: dict[str, Any] = container
    return found


def validate(manifests: Manifests, version: str) -> set[str]:
    kinds = {manifest["kind"] for manifest in manifests}
    for manifest in manifests:
        # The Prometheus operator's own kind, whose schema is not of the API.
        if manifest["kind"] != "PodMonitor":
            kubernetes_validate.validate(manifest, version, strict=True)
    return kinds


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_the_api_takes_the_manifests(
    manifests: Manifests, unload: Manifests, everything: Manifests, version: str
) -> None:
    ours = {"Namespace", "ServiceAccount", "DaemonSet", "NetworkPolicy"}
    assert validate(manifests, version) == ours
    assert validate(unload, version) == {"Namespace", "DaemonSet"}
    assert validate(everything, version) == ours | {"PodMonitor", "Secret"}


@pytest.mark.parametrize("base", ["base", "unload"])
def test_an_api_before_1_30_takes_them(tmp_path: Path, base: str) -> None:
    names = (OLD, *COMPONENTS) if base == "base" else (OLD,)
    manifests = with_components(tmp_path, *names, base=base)
    validate(manifests, "1.25")
    template = one(manifests, "DaemonSet")["spec"]["template"]
    (container,) = template["spec"].get("initContainers", template["spec"]["containers"])
    key = f"container.apparmor.security.beta.kubernetes.io/{container['name']}"
    assert template["metadata"]["annotations"] == {key: "unconfined"}


def test_every_component_is_tried() -> None:
    there = {path.name for path in (KUBERNETES / "components").iterdir()}
    assert there == {*COMPONENTS, OLD}


def test_selectors_find_the_pod_and_its_port(everything: Manifests) -> None:
    daemon_set, policy = one(everything, "DaemonSet"), one(everything, "NetworkPolicy")
    monitor = one(everything, "PodMonitor")
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    selectors = [daemon_set["spec"]["selector"], policy["spec"]["podSelector"]]
    for selector in [*selectors, monitor["spec"]["selector"]]:
        assert selector["matchLabels"].items() <= labels.items()
    (port,) = container_of(everything)["ports"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port["name"]}]
    assert [e["port"] for e in monitor["spec"]["podMetricsEndpoints"]] == [port["name"]]
    namespaces = {m["metadata"].get("namespace") for m in everything if m["kind"] != "Namespace"}
    assert namespaces == {one(everything, "Namespace")["metadata"]["name"]}


def test_the_job_is_the_one_that_rules_and_dashboards_go_by(everything: Manifests) -> None:
    label = one(everything, "PodMonitor")["spec"]["jobLabel"]
    job = one(everything, "DaemonSet")["spec"]["template"]["metadata"]["labels"][label]
    assert f'up{{job="{job}"}}' in (DEPLOY / "prometheus/rules/lpttrace-alerts.yml").read_text()


def test_it_listens_on_the_pods_address(manifests: Manifests) -> None:
    container = container_of(manifests)
    (variable,) = container["env"]
    (port,) = container["ports"]
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    # Brackets are right around either family: see parse_listen.
    assert container["args"] == [
        *("serve", "--listen", f"[$({variable['name']})]:{port['containerPort']}")
    ]


def test_probes_ask_what_is_served(manifests: Manifests) -> None:
    container = container_of(manifests)
    paths = {
        name: container[name]["httpGet"]["path"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert set(paths.values()) == {"/-/healthy", "/-/ready"}
    assert paths["readinessProbe"] == "/-/ready"


def documented() -> set[str]:
    text = (REPOSITORY / "docs/install.md").read_text()
    return set(re.findall(r"^\| `CAP_(\w+)` \|", text, re.M))


def added(manifests: Manifests) -> set[str]:
    return set(container_of(manifests)["securityContext"]["capabilities"].get("add", []))


def of_the_unit() -> set[str]:
    text = (DEPLOY / "systemd/lpttrace.service").read_text()
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.M)
    return {name.removeprefix("CAP_") for name in line.split()}


def test_pods_unit_and_documentation_agree_on_capabilities(
    manifests: Manifests, unload: Manifests, tmp_path: Path
) -> None:
    assert added(manifests) == {"BPF", "PERFMON", "SYSLOG"}
    assert added(with_components(tmp_path, "names")) == of_the_unit()
    assert documented() == of_the_unit() | {"SYS_ADMIN", "SYS_RESOURCE"}
    assert added(unload) == set()
    text = (REPOSITORY / "docs/install.md").read_text()
    (given,) = re.findall(r"--cap-drop all --cap-add (\S+)", text)
    assert {name.upper() for name in given.split(",")} == added(manifests)


def test_unloading_is_done_as_the_agent_was_run(manifests: Manifests, unload: Manifests) -> None:
    agent, remover = pod_of(manifests), pod_of(unload)
    (init,) = remover["initContainers"]
    context = dict(container_of(manifests)["securityContext"], capabilities={"drop": ["ALL"]})
    assert init["securityContext"] == context and init["args"] == ["unload"]
    (volume,) = remover["volumes"]
    assert volume in agent["volumes"] and remover["tolerations"] == agent["tolerations"]
    assert init["image"] == container_of(manifests)["image"]


@cache
def system_calls(group: str) -> frozenset[str]:
    argv = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    words = re.findall(r"^ +(?!#)(\S+)$", done.stdout, re.M)
    parts = (system_calls(word) if word.startswith("@") else {word} for word in words)
    return frozenset().union(*parts)


def test_the_seccomp_profile_is_the_units() -> None:
    text = (DEPLOY / "systemd/lpttrace.service").read_text()
    (allowed, *_) = re.findall(r"^SystemCallFilter=(.*)$", text, re.M)
    profile = json.loads((DEPLOY / "container/seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    (rule,) = profile["syscalls"]
    group, *more = allowed.split()
    assert rule["action"] == "SCMP_ACT_ALLOW"
    assert set(rule["names"]) == system_calls(group) | set(more)


def test_images_are_of_this_version(manifests: Manifests) -> None:
    assert container_of(manifests)["image"] == f"lpttrace:{__version__}"
    containerfile = (DEPLOY / "container/Containerfile").read_text()
    assert f"--tag lpttrace:{__version__} " in containerfile
