# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace serve --web-config-file` as a process: TLS, client certificates, users, changes."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Optional

import pytest
from cryptography import x509

from .web import (
    ROOT,
    SECRET_HASH,
    Agent,
    Authority,
    Identity,
    agent,
    basic,
    eventually,
    hashed,
    trusting,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def write(directory: Path, text: str) -> Path:
    path = directory / "web-config.yml"
    path.write_text(text)
    return path


def tls(server: Identity, *more: str) -> str:
    # Names without a directory: they are as seen from the configuration file.
    files = (f"cert_file: {server.cert.name}", f"key_file: {server.key.name}")
    return "tls_server_config:\n" + "".join(f"  {line}\n" for line in (*files, *more))


def serial(running: Agent, context: ssl.SSLContext) -> int:
    plain = socket.create_connection(running.address, timeout=60)
    with context.wrap_socket(plain, server_hostname="localhost") as secured:
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_tls(tmp_path: Path, authority: Authority) -> None:
    with agent(write(tmp_path, tls(authority.issue("server")))) as running:
        assert running.url.scheme == "https"
        running.scrape(trusting(authority))
        status, _, text = running.get()
        assert (status, text) == (400, "this is HTTPS; ask with https://\n")
        with pytest.raises(ssl.SSLCertVerificationError):
            running.get(context=ssl.create_default_context())
        assert running.get("/-/ready", trusting(authority))[0] == 200
        assert running.stop().count("\n") == 1


def test_a_certificate_and_a_key_within_the_file(tmp_path: Path, authority: Authority) -> None:
    server = authority.issue("server")
    text = "tls_server_config:\n"
    for key, file in (("cert", server.cert), ("key", server.key)):
        text += f"  {key}: |\n" + "".join(f"    {x}\n" for x in file.read_text().splitlines())
    with agent(write(tmp_path, text)) as running:
        running.scrape(trusting(authority))


@pytest.mark.parametrize(
    ("lines", "version", "cipher"),
    [
        (("max_version: TLS12",), "TLSv1.2", None),
        (("min_version: TLS13",), "TLSv1.3", None),
        (
            ("max_version: TLS12", "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"),
            "TLSv1.2",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
        (("cipher_suites: [TLS_AES_128_GCM_SHA256]",), "TLSv1.3", None),
        (("curve_preferences: [CurveP384]", "prefer_server_cipher_suites: false"), "TLSv1.3", None),
    ],
)
def test_what_is_spoken(
    tmp_path: Path,
    authority: Authority,
    lines: tuple[str, ...],
    version: str,
    cipher: Optional[str],
) -> None:
    with agent(write(tmp_path, tls(authority.issue("server"), *lines))) as running:
        with socket.create_connection(running.address, timeout=60) as plain:
            context = trusting(authority)
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                assert secured.version() == version
                spoken = secured.cipher()
                assert spoken and cipher in (None, spoken[0])
        running.scrape(trusting(authority))


def test_another_version_is_refused(tmp_path: Path, authority: Authority) -> None:
    lines = "cipher_suites: [TLS_AES_128_GCM_SHA256]"
    with agent(write(tmp_path, tls(authority.issue("server"), lines))) as running:
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            running.get(context=context)
        running.scrape(trusting(authority))
        assert (
            "warning: TLS handshake with 127.0.0.1 failed: unsupported protocol" in running.stop()
        )


def refused(running: Agent, context: ssl.SSLContext) -> bool:
    # With TLS 1.3 a client learns only when it reads.
    try:
        running.get(context=context)
    except (OSError, ConnectionError):
        return True
    except Exception as error:
        return type(error).__name__ == "RemoteDisconnected"
    return False


@pytest.mark.parametrize(
    ("auth", "nobody", "known", "stranger"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_certificates(
    tmp_path: Path, authority: Authority, auth: str, nobody: bool, known: bool, stranger: bool
) -> None:
    (tmp_path / "other").mkdir()
    others = Authority(tmp_path / "other", "others")
    lines = [f"client_auth_type: {auth}"]
    if auth != "NoClientCert":
        lines.append(f"client_ca_file: {authority.cert.name}")
    clients = (None, authority.issue("prometheus"), others.issue("stranger"))
    with agent(write(tmp_path, tls(authority.issue("server"), *lines))) as running:
        for client, welcome in zip(clients, (nobody, known, stranger)):
            assert refused(running, trusting(authority, client)) is not welcome
        said = running.stop()
        assert ("TLS handshake with 127.0.0.1 failed" in said) is (auth != "NoClientCert")


@pytest.mark.parametrize(
    "san",
    [
        x509.DNSName("prometheus.example"),
        x509.RFC822Name("ops@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/prometheus"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
    ],
)
def test_names_of_clients(tmp_path: Path, authority: Authority, san: x509.GeneralName) -> None:
    lines = (
        "client_auth_type: RequireAndVerifyClientCert",
        f"client_ca_file: {authority.cert.name}",
        f"client_allowed_sans: [nobody.example, '{san.value}']",
    )
    named = authority.issue("named", x509.DNSName("also.example"), san)
    other = authority.issue("other", x509.DNSName("other.example"))
    with agent(write(tmp_path, tls(authority.issue("server"), *lines))) as running:
        running.scrape(trusting(authority, named))
        assert refused(running, trusting(authority, other))
        assert "has no name of client_allowed_sans" in running.stop()


USERS = "basic_auth_users:\n  alice: {}\n  bob: {}\n"


def test_users(tmp_path: Path) -> None:
    with agent(write(tmp_path, USERS.format(hashed("wonder land:ü"), hashed("b" * 80)))) as running:
        for headers, status in (
            ({}, 401),
            (basic("alice", "wonder land:ü"), 200),
            (basic("alice", "wonder land:ü"), 200),
            (basic("alice", "wonderland"), 401),
            (basic("bob", "b" * 80), 200),
            (basic("bob", "wonder land:ü"), 401),
            (basic("carol", "wonder land:ü"), 401),
            (basic("", ""), 401),
            ({"Authorization": "Basic not base64"}, 401),
            ({"Authorization": "Bearer abc"}, 401),
        ):
            found, answered, _ = running.get(headers=headers)
            assert found == status
            assert answered["WWW-Authenticate"] == (
                None if status == 200 else 'Basic realm="lpttrace"'
            )
        assert running.get("/-/healthy")[0] == 401
        assert running.stop() == ""


def test_a_flood_of_wrong_passwords_stops_no_scrape(tmp_path: Path) -> None:
    # At this cost one comparison takes about half a second.
    with agent(write(tmp_path, USERS.format(hashed("right", 13), hashed("x")))) as running:
        assert running.get(headers=basic("alice", "right"))[0] == 200
        ended, statuses = threading.Event(), []

        def guess(number: int) -> None:
            while not ended.is_set():
                statuses.append(running.get(headers=basic("alice", f"{number}"))[0])

        guessers = [threading.Thread(target=guess, args=(n,)) for n in range(12)]
        for guesser in guessers:
            guesser.start()
        eventually(lambda: 503 in statuses, "nobody was told to wait")
        for _ in range(20):
            assert running.get(headers=basic("alice", "right"))[0] == 200
        ended.set()
        for guesser in guessers:
            guesser.join()
        assert set(statuses) == {401, 503}
        assert running.cost.num_threads() <= 4


def test_headers_and_a_rate(tmp_path: Path) -> None:
    text = (
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"
        "    Content-Security-Policy: default-src 'none'\n"
        "rate_limit:\n  interval: 1h\n  burst: 2\n"
    )
    with agent(write(tmp_path, text)) as running:
        answers = [running.get("/") for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert all(headers["X-Frame-Options"] == "deny" for _, headers, _ in answers)
        assert answers[0][1]["Content-Security-Policy"] == "default-src 'none'"


def replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    os.replace(scratch, path)


def test_a_new_certificate_is_served(tmp_path: Path, authority: Authority) -> None:
    first = authority.issue("server")
    with agent(write(tmp_path, tls(first))) as running:
        context = trusting(authority)
        assert serial(running, context) == first.serial
        for _ in range(3):
            renewed = authority.issue("renewed", into="server")
            assert serial(running, context) == renewed.serial
        first.cert.write_text("rubbish")
        for _ in range(3):
            assert serial(running, context) == renewed.serial
        last = authority.issue("last", into="server")
        assert serial(running, context) == last.serial
        said = running.stop().splitlines()
        assert len(said) == 2
        assert ":2: tls_server_config.cert_file: there is no certificate in PEM" in said[0]
        assert said[0].endswith("the web configuration from before stays in use")
        assert said[1].endswith("web-config.yml is right again, and in use")


def test_half_of_a_change_keeps_what_was(tmp_path: Path, authority: Authority) -> None:
    first = authority.issue("server")
    with agent(write(tmp_path, tls(first))) as running:
        before, second = first.serial, authority.issue("second")
        first.cert.write_bytes(second.cert.read_bytes())
        assert serial(running, trusting(authority)) == before
        first.key.write_bytes(second.key.read_bytes())
        assert serial(running, trusting(authority)) == second.serial
        assert ":3: tls_server_config.key_file: not the key of" in running.stop()


def test_users_change(tmp_path: Path) -> None:
    path = write(tmp_path, USERS.format(hashed("old"), hashed("x")))
    with agent(path) as running:
        assert running.get(headers=basic("alice", "old"))[0] == 200
        replace(path, USERS.format(hashed("new"), hashed("x")))
        assert running.get(headers=basic("alice", "old"))[0] == 401
        assert running.get(headers=basic("alice", "new"))[0] == 200
        replace(path, "basic_auth_users:\n  alice: not a hash\n")
        assert running.get(headers=basic("alice", "new"))[0] == 200
        path.unlink()
        assert running.get(headers=basic("alice", "new"))[0] == 200
        said = running.stop().splitlines()
        assert "web-config.yml:2: basic_auth_users.alice: not a bcrypt hash" in said[0]
        assert "cannot read the web configuration file" in said[1] and len(said) == 2


GONE = "the web configuration from before stays in use"


@pytest.mark.parametrize(
    "left", ["", "basic_auth_users:\n", "http_server_config: {http2: false}\n"]
)
def test_a_file_that_is_cut_off_opens_nothing(
    tmp_path: Path, authority: Authority, left: str
) -> None:
    whole = USERS.format(hashed("right"), hashed("x")) + tls(authority.issue("server"))
    path = write(tmp_path, whole)
    with agent(path) as running:
        context = trusting(authority)
        path.write_text(left)
        for _ in range(2):
            assert running.get()[0] == 400
            assert running.get(context=context)[0] == 401
        path.write_text(whole)
        assert running.get(context=context, headers=basic("alice", "right"))[0] == 200
        said = running.stop().splitlines()
        keys = "basic_auth_users and tls_server_config"
        assert said[0] == f"warning: {path}: {keys}: gone, which needs a restart; {GONE}"
        assert said[1].endswith("web-config.yml is right again, and in use") and len(said) == 2


def test_client_certificates_stay_needed(tmp_path: Path, authority: Authority) -> None:
    server = authority.issue("server")
    needed = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: authority.crt"]
    named = [*needed, "client_allowed_sans: [localhost]"]
    path = write(tmp_path, tls(server, *named))
    with agent(path) as running:
        other = trusting(authority, authority.issue("other", x509.DNSName("other.example")))
        path.write_text(tls(server, *needed))
        assert refused(running, other)
        path.write_text(tls(server))
        assert refused(running, trusting(authority))
        said = running.stop()
        assert "client_allowed_sans: gone, which needs a restart; " + GONE in said
        assert "client_allowed_sans and client_auth_type: gone" in said


def test_a_new_authority(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    others = Authority(tmp_path / "other", "others")
    lines = ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: authority.crt")
    old, new = authority.issue("old"), others.issue("new")
    context = trusting(authority, old)
    with agent(write(tmp_path, tls(authority.issue("server"), *lines))) as running:
        running.scrape(context)
        verifying = trusting(authority, new)
        authority.cert.write_bytes(others.cert.read_bytes())
        assert refused(running, context)
        running.scrape(verifying)


@pytest.mark.parametrize(
    ("text", "module", "package", "debian", "rpm"),
    [
        (f"basic_auth_users:\n  a: {SECRET_HASH}", "bcrypt", "bcrypt", *["python3-bcrypt"] * 2),
        ("{}", "yaml", "PyYAML", "python3-yaml", "python3-pyyaml"),
    ],
)
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, text: str, module: str, package: str, debian: str, rpm: str
) -> None:
    script = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        f"u.find_spec = lambda name: None if name == {module!r} else find(name)\n"
        "from lpttrace.cli_guard import guarded\n"
        "from lpttrace.cli_serve import ServeOptions, serve\n"
        "from lpttrace.cli_source import SourceOptions\n"
        "source = SourceOptions(4, '', '1x1')\n"
        "options = ServeOptions('127.0.0.1:0', source, web_config_file=sys.argv[1])\n"
        "sys.exit(guarded(lambda: serve(options)))"
    )
    path = write(tmp_path, text)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot use {path}: the Python package {package} is missing; install it with: "
        f"apt install {debian}, or dnf install {rpm}, or in a virtual environment: "
        f"{sys.executable} -m pip install {package}\n"
    )
