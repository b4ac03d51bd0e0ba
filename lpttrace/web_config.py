# SPDX-License-Identifier: GPL-2.0-only
"""The web configuration file that Prometheus exporters share. Pure.

The format is that of Prometheus's exporter-toolkit. What cannot be done here is an error that tells
the place, and never ignored; docs/security.md has the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from lpttrace.web_config_tls import TlsConfig, parse_tls
from lpttrace.web_yaml import Entry, read_yaml

__all__ = ["WebConfig", "parse_config"]

_KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")

# Those there are, and what they may be if not anything.
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")

# 128 bits of salt in 22 characters, so the last one has two only.
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
# At 16 a comparison takes seconds, and a scrape does not wait for longer than ten.
_COSTS = range(4, 17)

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class WebConfig:
    """The file; rate is seconds between requests, and how many may come at once."""

    tls: Optional[TlsConfig]
    headers: tuple[tuple[str, str], ...]
    users: Mapping[str, bytes]
    rate: Optional[tuple[float, int]]


def parse_config(file: str, content: bytes) -> WebConfig:
    """The configuration, or UsageError with file, line and key."""
    top = read_yaml(file, content)
    given = top.table(_KEYS)
    tls, http, users, rate = (given.get(key) for key in _KEYS)
    return WebConfig(
        parse_tls(tls) if tls else None,
        _headers(http) if http else (),
        {name: _hash(hashed) for name, hashed in users.table().items()} if users else {},
        _rate(rate) if rate else None,
    )


def _headers(entry: Entry) -> tuple[tuple[str, str], ...]:
    given = entry.table(("http2", "headers"))
    if "http2" in given and given["http2"].truth():
        raise given["http2"].error("only HTTP/1.1 is spoken here; say false, or remove it")
    headers = given["headers"].table(_HEADERS) if "headers" in given else {}
    return tuple((name, _header(name, value)) for name, value in headers.items() if value.text())


def _header(name: str, entry: Entry) -> str:
    text, choice = entry.text(), _HEADERS[name]
    if choice and text not in choice:
        raise entry.error(f"{text!r} is not possible; say {' or '.join(choice)}")
    if not _HEADER_VALUE.fullmatch(text):
        raise entry.error("a header is one line of ASCII")
    return text


def _hash(entry: Entry) -> bytes:
    found = _BCRYPT.fullmatch(entry.text())
    if not found:
        # Not shown: it may be a password.
        raise entry.error("not a bcrypt hash; htpasswd -nBC 10 USER makes one")
    if int(found[1]) not in _COSTS:
        raise entry.error(f"a cost of {found[1]}; at most {_COSTS[-1]} can be waited for")
    return entry.text().encode()


def _rate(entry: Entry) -> Optional[tuple[float, int]]:
    given = entry.table(("interval", "burst"))
    seconds = _duration(given["interval"]) if "interval" in given else 0.0
    if not seconds:
        return None
    burst = given["burst"].text() if "burst" in given else ""
    if not burst.isascii() or not burst.isdigit() or not int(burst):
        raise given.get("burst", entry).error("burst is to be a number of requests, from 1")
    return seconds, int(burst)


def _duration(entry: Entry) -> float:
    text = entry.text()
    if text in ("", "0"):
        return 0.0
    parts = _DURATION.findall(text)
    if "".join(map("".join, parts)) != text:
        raise entry.error(f"{text!r} is not a duration; say 100ms, 1.5s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
