# SPDX-License-Identifier: GPL-2.0-only
"""What the packages' descriptions say, of the project and of each other."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "systemd/lpttrace.service"
# The distribution's own, in every package.
FROM_DISTRIBUTION = {"h11", "msgpack", "psutil", "zstandard"}
# Recommended by every package: by PyPI's name, Debian's and that of RPMs.
WEB = {
    "bcrypt": ("python3-bcrypt", "python3-bcrypt"),
    "PyYAML": ("python3-yaml", "python3-pyyaml"),
}


def read(path: str) -> str:
    return (DEPLOY / path).read_text(encoding="utf-8")


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
    for needed in map(Requirement, project["optional-dependencies"]["web"]):
        debian, rpm = WEB[needed.name]
        floor = str(needed.specifier)
        assert re.search(rf"^Recommends: .*{debian} \({floor[:2]} {floor[2:]}\)", control, re.M)
        assert re.search(rf"^Recommends: +{rpm} {floor[:2]} {floor[2:]}$", spec, re.M)
        # There, what is recommended is not installed.
        assert debian in read("container/Containerfile")
    assert f"python3 ({python[:2]} {python[2:]})" in control
    assert f"python3 {python[:2]} {python[2:]}" in spec
