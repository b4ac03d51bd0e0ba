# SPDX-License-Identifier: GPL-2.0-only
"""Basic authentication: passwords against their bcrypt hashes. The only importer of bcrypt.

bcrypt takes long on purpose. So comparisons are made one at a time, in a thread of their own, few
wait for their turn, and a password that was right once is known again. All but the comparison
is in the thread of the server.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import queue
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, Optional

__all__ = ["Check", "Login", "Passwords", "parse_basic"]

_MOST_WAITING = 16
# So that one address that guesses does not keep the others out.
_MOST_WAITING_OF_A_PEER = 4
_MOST_KNOWN = 64
# bcrypt never looked at more; its library has errors for them since 5.0.
_MOST_BYTES = 72


@dataclass(frozen=True)
class Login:
    """What a client claims to be."""

    user: str
    password: bytes


def parse_basic(header: Optional[str]) -> Optional[Login]:
    """The value of an Authorization header; None if it is none, or of another kind."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
        return Login(user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


@dataclass
class Check:
    """A comparison that was asked for, and what came of it."""

    peer: str
    digest: bytes
    exists: bool
    hashed: bytes
    password: bytes
    done: Callable[[Check], None]
    passed: bool = False
    abandoned: bool = False

    def run(self) -> None:
        """Compare, which takes long."""
        import bcrypt

        if not self.abandoned:
            same = bcrypt.checkpw(self.password[:_MOST_BYTES], self.hashed)
            self.passed = same and self.exists


class Passwords:
    """Compares them, and remembers those that were right."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._known: dict[bytes, None] = {}
        self._waiting: Counter[str] = Counter()
        self._queue: queue.SimpleQueue[Optional[Check]] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None

    def check(
        self, users: Mapping[str, bytes], login: Login, peer: str, done: Callable[[Check], None]
    ) -> Check:
        """To be passed to known(), and if that says no, to start()."""
        exists = login.user in users
        hashed = users[login.user] if exists else self._decoy(users, login.user)
        digest = self._digest(login.user.encode(), hashed, login.password)
        return Check(peer, digest, exists, hashed, login.password, done)

    def known(self, check: Check) -> bool:
        """Whether this password was right before, for this user and this hash."""
        return check.exists and check.digest in self._known

    def start(self, check: Check) -> bool:
        """Have it compared, and done called in another thread; False if too many wait already."""
        if (
            sum(self._waiting.values()) >= _MOST_WAITING
            or self._waiting[check.peer] >= _MOST_WAITING_OF_A_PEER
        ):
            return False
        self._waiting[check.peer] += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="passwords", daemon=True)
            self._thread.start()
        self._queue.put(check)
        return True

    def finish(self, check: Check) -> None:
        """What came of it is known from now on."""
        self._waiting[check.peer] -= 1
        self._waiting += Counter()
        if check.passed:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[check.digest] = None

    def close(self) -> None:
        """End the thread, after what it is about."""
        self._queue.put(None)

    def _work(self) -> None:
        while (check := self._queue.get()) is not None:
            # A hash that bcrypt does not like is nobody's.
            with suppress(ValueError):
                check.run()
            check.done(check)

    def _decoy(self, users: Mapping[str, bytes], user: str) -> bytes:
        # Who does not exist takes as long as somebody who does, and the same every time.
        place = int.from_bytes(self._digest(user.encode()), "big") % len(users)
        return list(users.values())[place]

    def _digest(self, *parts: bytes) -> bytes:
        # With a secret, so that the time of a look-up tells nothing, nor does a core dump.
        digest = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()
