# SPDX-License-Identifier: GPL-2.0-only
"""tls_server_config of a web configuration file. Pure: no file that it names is read here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from lpttrace.web_yaml import Entry

__all__ = ["Pem", "TlsConfig", "parse_tls"]

# By Go's names. Two have had a shorter one there.
_CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{name}": f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for name, cipher in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("CHACHA20_POLY1305", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
# Of TLS 1.3, where nothing can be chosen, in Go neither: they are always there.
_ALWAYS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

_CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
_VERIFIED = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_VERSIONS = ("TLS12", "TLS13")
_OLD_VERSIONS = ("TLS10", "TLS11")

_KEYS = (
    "cert",
    "cert_file",
    "key",
    "key_file",
    "client_ca",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)


@dataclass(frozen=True)
class Pem:
    """PEM in a file, or in the configuration itself if path is empty."""

    entry: Entry
    path: str
    text: str


@dataclass(frozen=True)
class TlsConfig:
    """ciphers and curve by their names of OpenSSL; None for its own choice. entry is for what
    cannot be told of a key alone."""

    entry: Entry
    cert: Pem
    key: Pem
    client_ca: Optional[Pem]
    client_auth: str
    sans: Optional[frozenset[str]]
    versions: tuple[str, str]
    ciphers: Optional[tuple[str, ...]]
    prefer_own_ciphers: bool
    curve: Optional[tuple[Entry, str]]

    @property
    def files(self) -> tuple[str, ...]:
        """What else is to be read."""
        pems = (self.cert, self.key, self.client_ca)
        return tuple(pem.path for pem in pems if pem is not None and pem.path)


def parse_tls(entry: Entry) -> Optional[TlsConfig]:
    """None if nothing is given, which is HTTP."""
    given = entry.table(_KEYS)
    if not given:
        return None
    auth = _client_auth(given)
    cert, key = (_needed(given, entry, name) for name in ("cert", "key"))
    ciphers = _ciphers(given)
    prefer = given.get("prefer_server_cipher_suites")
    return TlsConfig(
        entry,
        cert,
        key,
        _client_ca(given, auth),
        auth,
        _sans(given, auth),
        _versions(given, ciphers),
        ciphers,
        prefer is None or prefer.truth(),
        _curve(given),
    )


def _needed(given: Mapping[str, Entry], entry: Entry, name: str) -> Pem:
    pem = _pem(given, name)
    if pem is None:
        raise entry.error(f"there is no {name}_file, which TLS cannot do without")
    return pem


def _pem(given: Mapping[str, Entry], name: str) -> Optional[Pem]:
    file, inline = given.get(f"{name}_file"), given.get(name)
    if inline is not None and inline.text():
        if file is not None and file.text():
            raise inline.error(f"there is {name}_file too; keep one of them")
        return Pem(inline, "", inline.text())
    if file is not None and file.text():
        # As seen from the configuration file.
        return Pem(file, os.path.join(os.path.dirname(file.file), file.text()), "")
    return None


def _client_auth(given: Mapping[str, Entry]) -> str:
    entry = given.get("client_auth_type")
    auth = entry.text() if entry else ""
    if not entry or not auth:
        return "NoClientCert"
    if auth in _UNVERIFIED:
        raise entry.error(
            f"{auth} takes certificates that nobody vouches for, which cannot be done here; "
            "say RequireAndVerifyClientCert"
        )
    if auth not in _VERIFIED:
        raise entry.error(f"there is no {auth!r}; say one of {', '.join(_VERIFIED)}")
    return auth


def _client_ca(given: Mapping[str, Entry], auth: str) -> Optional[Pem]:
    pem = _pem(given, "client_ca")
    if pem is not None and auth == "NoClientCert":
        raise pem.entry.error(
            "nobody is asked for a certificate; add client_auth_type: RequireAndVerifyClientCert"
        )
    return pem


def _sans(given: Mapping[str, Entry], auth: str) -> Optional[frozenset[str]]:
    entry = given.get("client_allowed_sans")
    if entry is None:
        return None
    if auth != "RequireAndVerifyClientCert":
        raise entry.error("goes with client_auth_type: RequireAndVerifyClientCert only")
    names = frozenset(name.text() for name in entry.items())
    if not names:
        raise entry.error("is empty, so nobody could connect; name somebody, or remove it")
    return names


def _versions(given: Mapping[str, Entry], ciphers: Optional[tuple[str, ...]]) -> tuple[str, str]:
    low, high = (_version(given.get(key)) for key in ("min_version", "max_version"))
    least, most = low or _VERSIONS[0], high or _VERSIONS[1]
    if ciphers == ():
        # None of those named is of TLS 1.2.
        if most == "TLS12":
            raise given["cipher_suites"].error("has none for TLS 1.2, and max_version is that")
        least = "TLS13"
    if least > most:
        raise given["max_version"].error(f"{most} is below min_version, {least}")
    return least, most


def _version(entry: Optional[Entry]) -> Optional[str]:
    version = entry.text() if entry else ""
    if not entry or not version:
        return None
    if version in _OLD_VERSIONS:
        raise entry.error(f"{version} is not spoken here: it is not secure; say TLS12 or TLS13")
    if version not in _VERSIONS:
        raise entry.error(f"there is no {version!r}; say TLS12 or TLS13")
    return version


def _ciphers(given: Mapping[str, Entry]) -> Optional[tuple[str, ...]]:
    entries = given["cipher_suites"].items() if "cipher_suites" in given else []
    if not entries:
        return None
    for entry in entries:
        if entry.text() not in _CIPHERS and entry.text() not in _ALWAYS:
            raise entry.error(f"there is no {entry.text()!r}; there are {', '.join(_CIPHERS)}")
    return tuple(_CIPHERS[entry.text()] for entry in entries if entry.text() in _CIPHERS)


def _curve(given: Mapping[str, Entry]) -> Optional[tuple[Entry, str]]:
    entries = given["curve_preferences"].items() if "curve_preferences" in given else []
    for entry in entries:
        if entry.text() not in _CURVES:
            raise entry.error(f"there is no {entry.text()!r}; say one of {', '.join(_CURVES)}")
    if len(entries) > 1:
        raise entries[1].error("Python's ssl offers one curve or all of them; keep one, or none")
    return (entries[0], _CURVES[entries[0].text()]) if entries else None
