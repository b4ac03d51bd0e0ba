# SPDX-License-Identifier: GPL-2.0-only
"""The web configuration file in use, and the files that it names, read again when they change."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from typing import Callable, Optional

from lpttrace.errors import LpttraceError, UsageError
from lpttrace.web_config import WebConfig, parse_config
from lpttrace.web_settings import Bucket, Settings
from lpttrace.web_tls import make_context

__all__ = ["Policy"]

# By module: for Debian and Ubuntu, for Fedora, RHEL and openEuler, and PyPI's.
_PACKAGES = {
    "yaml": ("python3-yaml", "python3-pyyaml", "PyYAML"),
    "bcrypt": ("python3-bcrypt", "python3-bcrypt", "bcrypt"),
}

# What was written so shortly before it was looked at may be written again in the same tick of the
# file system's clock, and look the same.
_UNSETTLED_SECONDS = 1.0

_Stamp = Optional[tuple[int, ...]]


class Policy:
    """Called for every connection, it has the settings of now.

    What is wrong with the first reading is raised. After that the settings stay as they are until
    the files are right again, and what is wrong is said once. A file without TLS, users or client
    certificates where there were some is wrong, too: it may be half written.
    """

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._complaint = ""
        self._stamps: dict[str, _Stamp] = {}
        self._settled = False
        self._bucket: Optional[Bucket] = None
        self._guards: frozenset[str] = frozenset()
        _need(path, "yaml")
        self._settings = self._load()

    def __call__(self) -> Settings:
        if not self._settled or any(_stamp(f) != seen for f, seen in self._stamps.items()):
            self._reload()
        return self._settings

    def _reload(self) -> None:
        try:
            self._settings = self._load()
        except LpttraceError as error:
            if str(error) != self._complaint:
                self._warn(f"{error}; the web configuration from before stays in use")
            self._complaint = str(error)
        else:
            if self._complaint:
                self._warn(f"{self._path} is right again, and in use")
            self._complaint = ""

    def _load(self) -> Settings:
        self._stamps, self._settled = {}, True
        self._note(self._path)
        config = parse_config(self._path, _read(self._path))
        if config.users:
            _need(self._path, "bcrypt")
        for file in config.tls.files if config.tls else ():
            self._note(file)
        guards = _guards(config)
        if missing := self._guards - guards:
            raise UsageError(
                f"{self._path}: {' and '.join(sorted(missing))}: gone, which needs a restart"
            )
        settings = self._settings_of(config)
        self._guards = guards
        return settings

    def _note(self, file: str) -> None:
        # Before it is read: a change meanwhile is then seen the next time.
        stamp = self._stamps[file] = _stamp(file)
        if stamp is not None and abs(time.time() - stamp[0] / 1e9) < _UNSETTLED_SECONDS:
            self._settled = False

    def _settings_of(self, config: WebConfig) -> Settings:
        tls = config.tls
        if config.rate is None:
            self._bucket = None
        elif self._bucket is None or self._bucket.rate != config.rate:
            self._bucket = Bucket(*config.rate)
        return Settings(
            make_context(tls) if tls else None,
            tls.sans if tls else None,
            config.users,
            config.headers,
            self._bucket,
        )


def _guards(config: WebConfig) -> frozenset[str]:
    # By key, what keeps somebody out.
    tls = config.tls
    found = {
        "tls_server_config": tls is not None,
        "client_auth_type": tls is not None and tls.client_auth == "RequireAndVerifyClientCert",
        "client_allowed_sans": tls is not None and tls.sans is not None,
        "basic_auth_users": bool(config.users),
    }
    return frozenset(key for key, there in found.items() if there)


def _stamp(file: str) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_dev, found.st_ino)


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read the web configuration file {file}: {why}") from error


def _need(path: str, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        debian, rpm, package = _PACKAGES[module]
        raise LpttraceError(
            f"cannot use {path}: the Python package {package} is missing; install it with: "
            f"apt install {debian}, or dnf install {rpm}, or in a virtual environment: "
            f"{sys.executable} -m pip install {package}"
        )
