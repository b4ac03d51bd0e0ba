# SPDX-License-Identifier: GPL-2.0-only
"""From tls_server_config to a context of ssl: reads certificates and keys."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from lpttrace.web_config_tls import Pem, TlsConfig
from lpttrace.web_connection import tls_reason

__all__ = ["make_context"]

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_CERTIFICATE, _KEY = "-----BEGIN CERTIFICATE-----", "PRIVATE KEY-----"


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """A new one; LpttraceError with file, line and key if something does not go together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = (_VERSIONS[v] for v in config.versions)
    # Every connection proves anew who it is, by the files of then.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if not config.prefer_own_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _choose(context, config)
    _identify(context, config)
    _verify(context, config)
    return context


def _choose(context: ssl.SSLContext, config: TlsConfig) -> None:
    entry = config.entry
    try:
        if config.ciphers:
            context.set_ciphers(":".join(config.ciphers))
        if config.curve:
            entry, curve = config.curve
            context.set_ecdh_curve(curve)
    except (ssl.SSLError, ValueError) as error:
        raise entry.error(f"this Python's ssl cannot do that: {tls_reason(error)}") from error


def _identify(context: ssl.SSLContext, config: TlsConfig) -> None:
    certificate, key = _read(config.cert, _CERTIFICATE), _read(config.key, _KEY)
    # Here it is known to be the certificate; below it may be either.
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config.cert, certificate)

    def locked() -> str:
        raise config.key.entry.error("the key is encrypted, and there is nobody to ask; decrypt it")

    try:
        with _in_memory(certificate) as cert_path, _in_memory(key) as key_path:
            context.load_cert_chain(cert_path, key_path, password=locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise config.key.entry.error("not the key of the certificate") from error
        if error.reason:
            raise config.cert.entry.error(f"cannot use it: {tls_reason(error)}") from error
        raise config.key.entry.error("OpenSSL cannot read the key") from error


def _trust(context: ssl.SSLContext, pem: Pem, text: str) -> None:
    try:
        context.load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        raise pem.entry.error(
            f"OpenSSL cannot read the certificate: {tls_reason(error)}"
        ) from error


def _verify(context: ssl.SSLContext, config: TlsConfig) -> None:
    context.verify_mode = _VERIFY[config.client_auth]
    pem = config.client_ca
    if pem is None:
        if context.verify_mode != ssl.CERT_NONE:
            # As in Go, the host's own list of authorities.
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    _trust(context, pem, _read(pem, _CERTIFICATE))


def _read(pem: Pem, mark: str) -> str:
    text = pem.text
    if pem.path:
        try:
            with open(pem.path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise pem.entry.error(f"cannot read {pem.path}: {why}") from error
    if mark not in text:
        what = "certificate" if mark is _CERTIFICATE else "private key"
        raise pem.entry.error(f"there is no {what} in PEM in {pem.path or 'it'}")
    # Bundles have comments; ssl wants ASCII.
    return text.encode("ascii", "ignore").decode()


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    # ssl takes names of files only; this one is read once, by us, and has no place on a disk.
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
