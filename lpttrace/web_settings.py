# SPDX-License-Identifier: GPL-2.0-only
"""What a web configuration file decides about a connection, ready for use."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

__all__ = ["Bucket", "Settings", "always_open"]


class Bucket:
    """Lets burst requests through at once, and one more every interval."""

    def __init__(
        self, seconds: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = (seconds, burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled = clock()

    def take(self) -> bool:
        """Whether there is a token left; it is taken."""
        seconds, burst = self.rate
        now = self._clock()
        self._tokens = min(burst, self._tokens + (now - self._filled) / seconds)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True)
class Settings:
    """For one connection; sans is None where every verified client certificate will do."""

    tls: Optional[ssl.SSLContext] = None
    sans: Optional[frozenset[str]] = None
    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    bucket: Optional[Bucket] = None


_OPEN = Settings()


def always_open() -> Settings:
    """HTTP for everybody who reaches the address."""
    return _OPEN
