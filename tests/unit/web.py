# SPDX-License-Identifier: GPL-2.0-only
"""For the tests of HTTP: certificates, and the agent as a process of its own."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Optional
from urllib.parse import urlsplit

import bcrypt
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]

SECRET_HASH = "$2y$04$VkKyaPTXma3yh8JjXpdouOeE517DbFB7Y0NDJvz24TMgCtgzJ4Lqe"
"""Of "secret"."""


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files."""

    cert: Path
    key: Path
    serial: int


class Authority:
    """Signs certificates, the first one its own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._sign(self._name, self._key, ca=True)
        self.cert = directory / f"{name}.crt"
        self.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        sans: tuple[x509.GeneralName, ...] = (),
        ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(
        self, name: str, *sans: x509.GeneralName, password: bytes = b"", into: str = ""
    ) -> Identity:
        """A certificate for a server on this machine, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = self._sign(subject, key, sans or (here, x509.DNSName("localhost")))
        cert, private = (self._directory / f"{into or name}.{end}" for end in ("crt", "key"))
        files = Identity(cert, private, signed.serial_number)
        files.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            locked = serialization.BestAvailableEncryption(password)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        files.key.write_bytes(key.private_bytes(*form, locked))
        return files


def hashed(password: str, cost: int = 4) -> str:
    """As htpasswd -B writes it."""
    made = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()
    return made.replace("$2b$", "$2y$")


def basic(user: str, password: str) -> dict[str, str]:
    """The header that says so."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Agent:
    """`lpttrace serve --synthetic`, while it runs."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = urlsplit(url)
        self.cost = psutil.Process(process.pid)
        assert self.url.hostname and self.url.port
        self.address = (self.url.hostname, self.url.port)

    def get(
        self,
        path: str = "/metrics",
        context: Optional[ssl.SSLContext] = None,
        headers: Optional[dict[str, str]] = None,
        method: str = "GET",
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """Ask, and read the answer."""
        client = (
            http.client.HTTPSConnection(*self.address, timeout=60, context=context)
            if context
            else http.client.HTTPConnection(*self.address, timeout=60)
        )
        try:
            client.request(method, path, headers=headers or {})
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            client.close()

    def scrape(self, context: Optional[ssl.SSLContext] = None) -> None:
        """A scrape that must succeed, to the last line."""
        status, headers, text = self.get(context=context)
        assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
        assert 'source="synthetic"' in text and "process_open_fds" in text

    def stop(self) -> str:
        """What it said on stderr until it ended well."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return said


@contextmanager
def agent(
    config: Optional[Path] = None, size: str = "4x4", limits: tuple[int, int] = (1024, 1024)
) -> Iterator[Agent]:
    """Listening on a port of its own, with as few descriptors as a service has."""
    command = [sys.executable, "-m", "lpttrace", "serve", "--synthetic", size]
    command += ["--listen", "127.0.0.1:0"]
    command += ["--web-config-file", str(config)] if config else []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("listening on "), said
            yield Agent(process, said.split()[-1])
        finally:
            process.kill()


def trusting(authority: Authority, client: Optional[Identity] = None) -> ssl.SSLContext:
    """A client of TLS that verifies, and may have a certificate."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    if client is not None:
        context.load_cert_chain(str(client.cert), str(client.key))
    return context


def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait for it, up to a minute: the machine may be busy."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
