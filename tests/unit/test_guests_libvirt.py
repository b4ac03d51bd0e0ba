# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's run-time XML: what is in it, and what may be wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest

from lpttrace.guests_libvirt import Domain, Domains, read_domain

UUID = "81f4aab5-db3b-40ce-97eb-ca436108c5ed"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
PROJECT = "0ad4b518a108439080cd04d6e84c41c0"
FOUND = Domain(4242, "instance-0000020b", UUID, "web <1> & co", "shop", PROJECT, "m1.tiny")


def nova(name: str = "web &lt;1&gt; &amp; co", namespace: str = NOVA) -> str:
    return f"""<nova:instance xmlns:nova="{namespace}">
        <nova:package version="27.1.0"/>
        <nova:name>{name}</nova:name>
        <nova:creationTime>2026-05-15 10:17:01</nova:creationTime>
        <nova:flavor name="m1.tiny" id="1"><nova:memory>512</nova:memory>
          <nova:extraSpecs><nova:extraSpec name="hw:mem">any</nova:extraSpec></nova:extraSpecs>
        </nova:flavor>
        <nova:owner>
          <nova:user uuid="61c26885878d4de8b25159cfb57f7c59">admin</nova:user>
          <nova:project uuid="{PROJECT}">shop</nova:project>
        </nova:owner>
      </nova:instance>"""


def status(
    pid: int = 4242,
    name: str = "instance-0000020b",
    uuid: str = UUID,
    metadata: Optional[str] = None,
    before: str = "",
    after: str = "",
) -> str:
    """As libvirt writes it: a status, and in it the domain."""
    described = nova() if metadata is None else metadata
    return f"""<!--
WARNING: THIS IS AN AUTO-GENERATED FILE.
-->

<domstatus state='running' reason='booted' pid='{pid}'>{before}
  <monitor path='/var/lib/libvirt/qemu/domain-23/monitor.sock' type='unix'/>
  <vcpus><vcpu id='0' pid='{pid + 1}'/></vcpus>
  <devices><device alias='balloon0'/></devices>
  <domain type='kvm' id='23'>
    <name>{name}</name>
    <uuid>{uuid}</uuid>
    <title>no title</title>
    <metadata>
      {described}
    </metadata>
    <memory unit='KiB'>2097152</memory>
    <devices><emulator>/usr/bin/qemu-system-aarch64</emulator>
      <disk type='file'><name>a name of something else</name><uuid>other</uuid></disk>
    </devices>
  </domain>{after}
</domstatus>
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "instance-0000020b.xml"


def test_libvirt_and_openstack(path: Path) -> None:
    path.write_text(status())
    assert read_domain(path) == FOUND


def test_libvirt_alone(path: Path) -> None:
    path.write_text(status(metadata=""))
    assert read_domain(path) == Domain(4242, "instance-0000020b", UUID)


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("http://openstack.org/xmlns/libvirt/nova/1.0", "x"),
        ("http://openstack.org/xmlns/libvirt/nova/2.0", "x"),
        ("http://example.com/nova/1.0", ""),
    ],
)
def test_nova_is_known_by_its_namespace(path: Path, namespace: str, name: str) -> None:
    path.write_text(status(metadata=nova("x", namespace)))
    found = read_domain(path)
    assert found is not None and found.instance == name


def test_a_long_name_comes_whole(path: Path) -> None:
    name = "ä\u202e" * 30_000
    path.write_text(status(metadata=nova(name)), encoding="utf-8")
    found = read_domain(path)
    assert found is not None and found.instance == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not XML",
        status()[:700],
        status().replace("pid='4242'", ""),
        status().replace("pid='4242'", "pid='many'"),
        status().replace("pid='4242'", f"pid='{'9' * 10_000}'"),
        status().replace("</nova:name>", "</nova:nam>"),
        status().replace("&amp;", "&undefined;"),
        '<?xml version="1.0" encoding="no-such"?>' + status()[60:],
        '<?xml version="1.0" encoding="big5"?>' + status()[60:],
        "\0" * 4096,
        f"<domain pid='4242'><name>{UUID}</name></domain>",
    ],
)
def test_broken(path: Path, text: str) -> None:
    path.write_text(text)
    assert read_domain(path) is None


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", status().encode().replace(b"shop", b"\xff\xfe")])
def test_what_is_no_text(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read_domain(path) is None


BOMBS = {
    "a billion laughs": '<!DOCTYPE domstatus [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi"))
    + "]>\n",
    "quadratic": f'<!DOCTYPE domstatus [<!ENTITY i "{"x" * 100_000}">]>\n',
    "another file": '<!DOCTYPE domstatus [<!ENTITY i SYSTEM "file:///etc/passwd">]>\n',
    "parameters": '<!DOCTYPE domstatus [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>\n',
    "an outer document type": '<!DOCTYPE domstatus SYSTEM "file:///etc/passwd">\n',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_entities(path: Path, bomb: str) -> None:
    declared = "<!ENTITY i" in BOMBS[bomb]
    text = status(metadata=nova("&i;" * 1000 if declared else "x"))
    path.write_text(BOMBS[bomb] + text)
    assert read_domain(path) is None
    path.write_text(status())
    assert read_domain(path) == FOUND


# What is repeated, how often, and where.
HUGE = {
    "an element before": ("<a>", "x", 32 << 20, "before"),
    "elements before": ("", "<a/>", 4 << 20, "before"),
    "deep": ("", "<a>", 1 << 20, "before"),
    "an attribute": ("<a b='", "x", 16 << 20, "before"),
    "a name": ("", "x", 16 << 20, "name"),
}

MEASURE = """
import re, sys
from pathlib import Path
from lpttrace.guests_libvirt import read_domain
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
read_domain(Path(sys.argv[1]))
before = peak()
print(read_domain(Path(sys.argv[2])), peak() - before)
"""


@pytest.mark.parametrize("what", HUGE)
def test_huge(path: Path, what: str) -> None:
    begin, repeated, times, where = HUGE[what]
    small, huge = path.with_name("small.xml"), path
    small.write_text(status())
    text = status(name="HERE") if where == "name" else status(before="HERE")
    before, after = text.split("HERE")
    with huge.open("w") as file:
        file.write(before + begin)
        for _ in range(0, times, 1 << 16):
            file.write(repeated * (1 << 16))
        file.write(after)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(huge)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, kib = done.stdout.split()
    assert found == "None"
    # It has a MiB at most before it is given up, and whatever the parser makes of that.
    assert int(kib) < 8 << 10


def test_what_comes_after_is_not_read(path: Path) -> None:
    devices = "<disk/>" * (1 << 20)
    path.write_text(status().replace("<devices><emulator>", f"<devices>{devices}<emulator>"))
    assert read_domain(path) == FOUND


def test_other_things_than_files(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(status())
    (tmp_path / "link.xml").symlink_to("real")
    (tmp_path / "directory.xml").mkdir()
    os.mkfifo(tmp_path / "pipe.xml")
    assert [read_domain(entry) for entry in tmp_path.glob("*.xml")] == [None] * 3
    domains = Domains(tmp_path)
    domains.refresh()
    assert domains.find(4242, UUID, "") is None


def find(domains: Domains, pid: int = 4242, uuid: str = UUID, name: str = "") -> Optional[str]:
    domains.refresh()
    found = domains.find(pid, uuid, name)
    return found.name if found else None


def replace(path: Path, text: str) -> None:
    """As libvirt does it: another file takes the place of the old one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)


def test_no_libvirt(tmp_path: Path) -> None:
    assert find(Domains(tmp_path / "nosuch")) is None


def test_files_come_change_and_go(path: Path) -> None:
    domains = Domains(path.parent)
    assert find(domains) is None
    replace(path, status())
    assert find(domains) == "instance-0000020b"
    replace(path, status(name="renamed"))
    assert find(domains) == "renamed"
    path.write_text(status(name="renamed again"))
    assert find(domains) == "renamed again"
    path.unlink()
    assert find(domains) is None


def test_a_file_that_was_broken_is_read_when_it_is_whole(path: Path) -> None:
    domains = Domains(path.parent)
    path.write_text(status()[:400])
    assert find(domains) is None
    path.write_text(status())
    assert find(domains) == "instance-0000020b"


def test_a_file_that_stays_is_read_once(path: Path) -> None:
    domains = Domains(path.parent)
    path.write_text(status())
    domains.refresh()
    first = domains.find(4242, UUID, "")
    domains.refresh()
    assert first is not None and domains.find(4242, UUID, "") is first


@pytest.mark.parametrize(
    ("pid", "uuid", "name", "found"),
    [
        (4242, UUID, "", True),
        (4242, UUID.upper(), "", True),
        (4242, UUID, "another name", True),
        (4242, "", "instance-0000020b", True),
        # The pid was used again, by another VM or by one that says nothing.
        (4242, "11111111-2222-3333-4444-555555555555", "instance-0000020b", False),
        (4242, "", "another", False),
        (4242, "", "", False),
        (4243, UUID, "instance-0000020b", False),
    ],
)
def test_whose_file_it_is(path: Path, pid: int, uuid: str, name: str, found: bool) -> None:
    path.write_text(status())
    assert (find(Domains(path.parent), pid, uuid, name) is not None) == found


def test_the_file_of_a_vm_before_with_the_same_pid(path: Path) -> None:
    path.write_text(status(name="before", uuid="0" * 32))
    path.with_name("now.xml").write_text(status(name="now"))
    assert find(Domains(path.parent)) == "now"


def test_the_newer_file_of_a_vm_that_was_renamed(path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        file = path.with_name(f"{name}.xml")
        file.write_text(status(name=name))
        os.utime(file, (time.time() - age, time.time() - age))
    assert find(Domains(path.parent)) == "new"


def test_no_parser_is_loaded_without_a_file(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from lpttrace.guests import Guests\n"
        "from lpttrace.guests_libvirt import Domains\n"
        "domains = Domains(Path(sys.argv[1])); domains.refresh()\n"
        "before = 'pyexpat' in sys.modules\n"
        "(Path(sys.argv[1]) / 'x.xml').write_text('<a/>'); domains.refresh()\n"
        'sys.exit(f\'{before} {"pyexpat" in sys.modules} {"xml.etree" in sys.modules}\')'
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == "False True False\n"
