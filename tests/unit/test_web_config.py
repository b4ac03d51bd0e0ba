# SPDX-License-Identifier: GPL-2.0-only
"""Web configuration files: what is in them, and what is wrong with them, and where."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from lpttrace.errors import LpttraceError
from lpttrace.web_config import parse_config
from lpttrace.web_policy import Policy
from lpttrace.web_settings import Bucket

from .web import SECRET_HASH, Authority

FILES = "  cert_file: server.crt\n  key_file: server.key\n"
TLS = "tls_server_config:\n" + FILES
CLIENTS = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.crt\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """With certificates, good and bad."""
    authority = Authority(tmp_path)
    authority.issue("server")
    authority.issue("other")
    authority.issue("locked", password=b"secret")
    (tmp_path / "empty").write_text("")
    broken = "-----BEGIN {0}-----\nbm90IERFUg==\n-----END {0}-----\n"
    (tmp_path / "broken.crt").write_text(broken.format("CERTIFICATE"))
    (tmp_path / "broken.key").write_text(broken.format("PRIVATE KEY"))
    return tmp_path


# Text, and the message after the file's name.
BROKEN = [
    ("a: [\n", ":2: not YAML: while parsing a flow node expected the node content"),
    ("a: b\n\tc: d\n", ":2: not YAML: while scanning"),
    ("a: \xff", ":1: not UTF-8: invalid start byte"),
    ("\n- a\n", ":1: the file: not a table of keys and values"),
    ("\nserver: {}\n", ":2: server: no such key; there are tls_server_config, http_server_config"),
    (TLS + "  nosuch: 1\n", ":4: tls_server_config.nosuch: no such key; there are cert, cert_file"),
    (TLS + TLS, ":4: tls_server_config: there twice; the first is in line 1"),
    (TLS + "  ? [a]\n  : b\n", ":4: tls_server_config: not a key"),
    ("tls_server_config: yes\n", ":1: tls_server_config: not a table of keys and values"),
    ("tls_server_config:\n  key_file: a\n", ":1: tls_server_config: there is no cert_file"),
    ("tls_server_config:\n  cert_file: a\n", ":1: tls_server_config: there is no key_file"),
    ("tls_server_config:\n  min_version: TLS13\n", ":1: tls_server_config: there is no cert_file"),
    (TLS + "  cert: a\n", ":4: tls_server_config.cert: there is cert_file too; keep one of them"),
    (TLS + "  cert_file: [a]\n", ":4: tls_server_config.cert_file: there twice"),
    ("tls_server_config:\n  cert_file: [a]\n", ":2: tls_server_config.cert_file: not a string"),
    (
        TLS + "  client_auth_type: RequestClientCert\n",
        ":4: tls_server_config.client_auth_type: Req",
    ),
    (
        TLS + "  client_auth_type: RequireAnyClientCert\n",
        ":4: tls_server_config.client_auth_type: RequireAnyClientCert takes certificates that "
        "nobody vouches for, which cannot be done here; say RequireAndVerifyClientCert",
    ),
    (
        TLS + "  client_auth_type: Maybe\n",
        ":4: tls_server_config.client_auth_type: there is no 'Ma",
    ),
    (TLS + "  client_ca_file: a\n", ":4: tls_server_config.client_ca_file: nobody is asked"),
    (TLS + "  client_allowed_sans: [a]\n", ":4: tls_server_config.client_allowed_sans: goes with"),
    (
        CLIENTS + "  client_allowed_sans: []\n",
        ":6: tls_server_config.client_allowed_sans: is empty",
    ),
    (
        CLIENTS + "  client_allowed_sans: a\n",
        ":6: tls_server_config.client_allowed_sans: not a list",
    ),
    (TLS + "  min_version: TLS10\n", ":4: tls_server_config.min_version: TLS10 is not spoken here"),
    (TLS + "  max_version: SSL3\n", ":4: tls_server_config.max_version: there is no 'SSL3'"),
    (
        TLS + "  min_version: TLS13\n  max_version: TLS12\n",
        ":5: tls_server_config.max_version: TLS12 is below min_version, TLS13",
    ),
    (
        TLS + "  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - RC4\n",
        ":6: tls_server_config.cipher_suites[1]: there is no 'RC4'; there are TLS_ECDHE",
    ),
    (
        TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        ":5: tls_server_config.cipher_suites: has none for TLS 1.2",
    ),
    (
        TLS + "  curve_preferences: [P-1]\n",
        ":4: tls_server_config.curve_preferences[0]: there is no",
    ),
    (
        TLS + "  curve_preferences:\n  - X25519\n  - CurveP256\n",
        ":6: tls_server_config.curve_preferences[1]: Python's ssl offers one curve or all",
    ),
    (
        TLS + "  prefer_server_cipher_suites: maybe\n",
        ":4: tls_server_config.prefer_server_cipher_suites: 'maybe' is not true or false",
    ),
    (
        "http_server_config:\n  http2: true\n",
        ":2: http_server_config.http2: only HTTP/1.1 is spoken",
    ),
    ("http_server_config:\n  h: 1\n", ":2: http_server_config.h: no such key"),
    (
        "http_server_config:\n  headers:\n    X-Powered-By: a\n",
        ":3: http_server_config.headers.X-Powered-By: no such key; there are Content-Security",
    ),
    (
        "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
        ":3: http_server_config.headers.X-Frame-Options: 'allow' is not possible; say deny or same",
    ),
    (
        'http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb"\n',
        ":3: http_server_config.headers.X-XSS-Protection: a header is one line of ASCII",
    ),
    ("basic_auth_users: [a]\n", ":1: basic_auth_users: not a table of keys and values"),
    ("basic_auth_users:\n  a: secret\n", ":2: basic_auth_users.a: not a bcrypt hash"),
    (
        f"basic_auth_users:\n  a: {SECRET_HASH[:28]}z{SECRET_HASH[29:]}\n",
        ":2: basic_auth_users.a: not a bcrypt hash",
    ),
    ("basic_auth_users:\n  a:\n", ":2: basic_auth_users.a: not a bcrypt hash"),
    (
        f"basic_auth_users:\n  a: {SECRET_HASH.replace('$04$', '$17$')}\n",
        ":2: basic_auth_users.a: a cost of 17; at most 16 can be waited for",
    ),
    ("rate_limit:\n  interval: soon\n", ":2: rate_limit.interval: 'soon' is not a duration"),
    ("rate_limit:\n  interval: 1s\n", ":1: rate_limit: burst is to be a number"),
    ("rate_limit:\n  interval: 1s\n  burst: -1\n", ":3: rate_limit.burst: burst is to be a number"),
    (TLS.replace("server.crt", "none"), ":2: tls_server_config.cert_file: cannot read /"),
    (TLS.replace("server.key", "none"), ":3: tls_server_config.key_file: cannot read /"),
    (
        TLS.replace("server.crt", "empty"),
        ":2: tls_server_config.cert_file: there is no certificate",
    ),
    (TLS.replace("server.key", "empty"), ":3: tls_server_config.key_file: there is no private key"),
    (TLS.replace("server.crt", "broken.crt"), ":2: tls_server_config.cert_file: OpenSSL cannot"),
    (TLS.replace("server.key", "broken.key"), ":3: tls_server_config.key_file: OpenSSL cannot"),
    (
        TLS.replace("server.key", "other.key"),
        ":3: tls_server_config.key_file: not the key of",
    ),
    (
        TLS.replace("server.", "locked."),
        ":3: tls_server_config.key_file: the key is encrypted, and",
    ),
    (CLIENTS.replace("authority.crt", "none"), ":5: tls_server_config.client_ca_file: cannot read"),
    (
        CLIENTS.replace("authority.crt", "broken.crt"),
        ":5: tls_server_config.client_ca_file: OpenSSL",
    ),
    (CLIENTS.replace("authority.crt", "server.key"), ":5: tls_server_config.client_ca_file: there"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_what_is_wrong_is_told_with_its_place(directory: Path, text: str, message: str) -> None:
    path = directory / "web.yml"
    path.write_bytes(text.encode("latin-1"))
    said: list[str] = []
    with pytest.raises(LpttraceError) as failure:
        Policy(str(path), said.append)
    error = str(failure.value)
    assert re.match(re.escape(str(path)) + r":\d+: \w", error) and message in error
    assert "\n" not in error and said == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        LpttraceError, match="cannot read the web configuration file .*no such file"
    ):
        Policy(str(tmp_path / "none"), print)


def test_a_password_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(LpttraceError) as failure:
        parse_config("web.yml", b"basic_auth_users:\n  a: open sesame\n")
    assert "sesame" not in str(failure.value)


def test_comments_in_a_bundle_do_no_harm(directory: Path) -> None:
    path, bundle = directory / "web.yml", directory / "authority.crt"
    bundle.write_bytes("# Autorité\n".encode() + bundle.read_bytes())
    path.write_text(CLIENTS)
    assert Policy(str(path), print)().tls is not None


def test_every_curve_is_spoken_or_refused(directory: Path) -> None:
    for curve, name in (
        ("CurveP256", "prime256v1"),
        ("CurveP384", "secp384r1"),
        ("CurveP521", "secp521r1"),
        ("X25519", "X25519"),
    ):
        path = directory / "web.yml"
        path.write_text(TLS + f"  curve_preferences: [{curve}]\n")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(name)
        except (ssl.SSLError, ValueError):
            place = r":4: tls_server_config.curve_preferences\[0\]: this Python's ssl cannot"
            with pytest.raises(LpttraceError, match=place):
                Policy(str(path), print)
        else:
            assert Policy(str(path), print)().tls is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("tls_server_config:\nbasic_auth_users:\n", {}),
        ("rate_limit:\n  interval: 1m30s\n  burst: 3\n", {"rate": (90.0, 3)}),
        ("rate_limit:\n  interval: 0\n", {}),
        ("rate_limit:\n  interval: 1.5ms\n  burst: 1\n", {"rate": (0.0015, 1)}),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection:\n    X-Frame-Options: deny\n",
            {"headers": (("X-Frame-Options", "deny"),)},
        ),
    ],
)
def test_what_is_right(text: str, expected: dict[str, Any]) -> None:
    config = parse_config("web.yml", text.encode())
    given = {"tls": None, "headers": (), "users": {}, "rate": None, **expected}
    assert vars(config) == given


def test_a_bucket() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 3, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 2.0
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
