# SPDX-License-Identifier: GPL-2.0-only
"""What the packages' descriptions say, of the project and of each other."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import tomlkit
import yaml
from packaging.requirements import Requirement

from lpttrace import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "systemd/lpttrace.service"
# The distribution's own, in every package.
FROM_DISTRIBUTION = {"h11", "msgpack", "psutil", "zstandard"}


def read(path: str) -> str:
    return (DEPLOY / path).read_text(encoding="utf-8")


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.M):
        found.setdefault(key, []).append(value)
    return found


def capabilities() -> set[str]:
    (line,) = settings(UNIT)["CapabilityBoundingSet"]
    return set(line.split())


def test_the_unit_is_as_hard_as_promised() -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    done = subprocess.run([*argv, str(UNIT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-200:]


def test_each_exception_of_the_unit_is_explained() -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short"]
    done = subprocess.run([*argv, str(UNIT)], capture_output=True, text=True, check=True)
    found = {row["name"] for row in json.loads(done.stdout) if row["exposure"]}
    comments = " ".join(re.findall(r"^ *# *(.*)$", UNIT.read_text(), re.M))
    for name in found:
        (word, *_) = re.findall(r"@\w+|CAP_\w+|AF_UNIX|[A-Z]\w+", name.partition("~")[2] or name)
        assert word.rstrip("_") in comments, f"{name} is not explained"


@pytest.mark.parametrize("name", ["lpttrace.service", "lpttrace.socket"])
def test_systemd_understands_all_of_the_unit(name: str, tmp_path: Path) -> None:
    # Its command is not installed here.
    for unit in (UNIT, UNIT.with_suffix(".socket")):
        text = unit.read_text().replace("/usr/bin/lpttrace", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def vendored() -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==(\S+)", read("package/vendored.txt"), re.M)
    return {name.lower().replace("_", "-"): version for name, version in pins}


def test_packages_bring_along_what_the_project_needs() -> None:
    project: Any = tomlkit.parse((REPOSITORY / "pyproject.toml").read_text())["project"]
    have = vendored()
    for text in project["dependencies"]:
        needed = Requirement(text)
        if needed.name not in FROM_DISTRIBUTION:
            assert needed.specifier.contains(have[needed.name]), f"{text}, not {have[needed.name]}"


def test_every_package_asks_for_what_the_project_needs() -> None:
    project: Any = tomlkit.parse((REPOSITORY / "pyproject.toml").read_text())["project"]
    python = project["requires-python"]
    control, spec = read("package/debian/control"), read("package/lpttrace.spec")
    for needed in map(Requirement, project["dependencies"]):
        if needed.name in FROM_DISTRIBUTION:
            floor = str(needed.specifier)
            assert f"python3-{needed.name} ({floor[:2]} {floor[2:]})" in control
            assert f"python3-{needed.name} {floor[:2]} {floor[2:]}" in spec
    assert f"python3 ({python[:2]} {python[2:]})" in control
    assert f"python3 {python[:2]} {python[2:]}" in spec


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    kubectl = REPOSITORY / "build/tools/usr/bin/kubectl"
    argv = [str(kubectl), "kustomize", str(DEPLOY / "kubernetes/base")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("version", ["1.25", "1.30", kubernetes_validate.latest_version()])
def test_the_api_takes_the_manifests(manifests: list[dict[str, Any]], version: str) -> None:
    kinds = set()
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
        kinds.add(manifest["kind"])
    assert kinds == {"Namespace", "ServiceAccount", "DaemonSet", "NetworkPolicy"}


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (daemon_set,) = [m for m in manifests if m["kind"] == "DaemonSet"]
    template: dict[str, Any] = daemon_set["spec"]["template"]
    return template


def test_selectors_find_the_pod_and_its_port(manifests: list[dict[str, Any]]) -> None:
    template = pod(manifests)
    (daemon_set,) = [m for m in manifests if m["kind"] == "DaemonSet"]
    (policy,) = [m for m in manifests if m["kind"] == "NetworkPolicy"]
    monitor = yaml.safe_load(read("kubernetes/podmonitor/podmonitor.yaml"))
    selectors = [daemon_set["spec"]["selector"], policy["spec"]["podSelector"]]
    for selector in [*selectors, monitor["spec"]["selector"]]:
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port["name"]}]
    assert [e["port"] for e in monitor["spec"]["podMetricsEndpoints"]] == [port["name"]]
    assert container["args"][-1] == f":{port['containerPort']}"


def test_the_monitor_is_of_the_base() -> None:
    overlay = yaml.safe_load(read("kubernetes/podmonitor/kustomization.yaml"))
    base = yaml.safe_load(read("kubernetes/base/kustomization.yaml"))
    assert overlay["resources"] == ["../base", "podmonitor.yaml"]
    assert overlay["namespace"] == base["namespace"]


def test_pod_unit_and_documentation_agree_on_capabilities(manifests: list[dict[str, Any]]) -> None:
    (container,) = pod(manifests)["spec"]["containers"]
    added = container["securityContext"]["capabilities"]["add"]
    assert {f"CAP_{name}" for name in added} == capabilities()
    documented = re.findall(
        r"^\| `(CAP_\w+)` \|", (REPOSITORY / "docs/install.md").read_text(), re.M
    )
    assert set(documented) == capabilities() | {"CAP_SYS_ADMIN"}


def test_images_are_of_this_version(manifests: list[dict[str, Any]]) -> None:
    (container,) = pod(manifests)["spec"]["containers"]
    assert container["image"] == f"lpttrace:{__version__}"
    assert f"--tag lpttrace:{__version__} " in read("container/Containerfile")
