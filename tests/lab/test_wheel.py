# SPDX-License-Identifier: GPL-2.0-only
"""The wheel in a clean virtual environment, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

LOAD = """
import lpttrace.attach as attach, lpttrace.host as host, lpttrace.plan as plan
facts = host.probe_host(plan.symbols_wanted("kvm_update_lpt_time"))
with attach.Attachment(plan.make_plan(facts, max_vcpus=4)) as attachment:
    print(attach.bpf_directory())
    print(sum(outcome.attached for outcome in attachment.outcomes))
"""


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*command, "--outdir", str(directory), str(repository)], check=True)
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(directory / "bin" / "pip"), "install", "--quiet"]
    subprocess.run([*pip, "-c", str(repository / "constraints.txt"), str(wheel)], check=True)
    return directory


def run(environment: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    # Nothing of the checkout may help: not the directory, not the environment.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(environment / "bin" / argv[0]), *argv[1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=clean)


def test_the_wheel_has_every_bpf_source(wheel: Path, repository: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(repository) for p in (repository / "bpf").rglob("*.[ch]")}
    assert sources and {f"lpttrace/{source}" for source in sources} <= packed


def test_it_loads_the_programs_from_there(environment: Path) -> None:
    done = run(environment, "python", "-c", LOAD)
    assert done.returncode == 0, done.stderr
    place, attached = done.stdout.split()
    assert Path(place).is_relative_to(environment)
    assert int(attached) >= 3


def test_the_command_works(environment: Path) -> None:
    assert run(environment, "lpttrace", "--version").stdout.startswith("lpttrace ")
    doctor = run(environment, "lpttrace", "doctor")
    assert doctor.returncode == 3 and "x86_64, not aarch64" in doctor.stdout
    frame = run(environment, "lpttrace", "top", "--once", "--json", "--synthetic", "2x2")
    assert frame.returncode == 0, frame.stderr
