# SPDX-License-Identifier: GPL-2.0-only
"""What is said over one connection: handshake, request, who is asking, answer."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from typing import Any, Callable, Optional

import h11

from lpttrace.web_connection import WAIT, Connection, Phase, Steps, tls_reason
from lpttrace.web_settings import Settings
from lpttrace.web_users import Check, Passwords, parse_basic
from lpttrace.web_wsgi import App, answer, environ, refusal

__all__ = ["Session", "names_of"]

_IN_THE_CLEAR = refusal(400, "this is HTTPS; ask with https://")
_TOO_MANY = refusal(429, "too many requests; see rate_limit in the web configuration file")
_WHO = refusal(401, "who asks? user and password", ("WWW-Authenticate", 'Basic realm="lpttrace"'))
_BUSY = refusal(503, "too many passwords to compare; ask again", ("Retry-After", "1"))
_BROKEN = refusal(500, "the agent failed; its log says more")


class Session:
    """The same for all connections of a server."""

    def __init__(
        self,
        app: App,
        settings: Callable[[], Settings],
        passwords: Passwords,
        resume: Callable[[Connection, Check], None],
        complain: Callable[[str, str], None],
        refuse: Callable[[str], None],
    ) -> None:
        """resume is called in another thread when a connection that waits may go on; complain gets
        the kind of a trouble, and a line about it; refuse one of catalog.HTTP_REFUSALS."""
        self._app = app
        self._settings = settings
        self._passwords = passwords
        self._resume = resume
        self._complain = complain
        self._refuse = refuse

    def converse(self, client: Connection) -> Steps[None]:
        """From the first byte to the last."""
        settings = self._settings()
        refuse: Optional[App] = None
        if settings.tls is not None:
            secure = yield from client.speaks_tls()
            if secure is None:
                return
            if not secure:
                refuse = self._with("tls", _IN_THE_CLEAR)
            elif not (yield from self._secured(client, settings.tls, settings.sans)):
                return
        try:
            request = yield from client.request()
        except h11.RemoteProtocolError as error:
            self._refuse("malformed")
            yield from self._answer(client, refusal(error.error_status_hint, str(error)), {}, ())
            return
        if request is not None:
            variables = environ(request)
            if refuse is None:
                refuse = yield from self._refused(client, variables, settings)
            yield from self._answer(client, refuse or self._app, variables, settings.headers)

    def _with(self, reason: str, page: App) -> App:
        self._refuse(reason)
        return page

    def _secured(
        self, client: Connection, tls: ssl.SSLContext, sans: Optional[frozenset[str]]
    ) -> Steps[bool]:
        try:
            certificate = yield from client.secure(tls)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # It hung up, as those do who only look whether somebody listens.
            return False
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or tls_reason(error)
            self._refuse("tls")
            self._complain("handshake", f"TLS handshake with {client.peer} failed: {why}")
            return False
        if sans is not None and not sans & names_of(certificate or {}):
            self._refuse("tls")
            text = f"certificate of {client.peer} has no name of client_allowed_sans"
            self._complain("names", text)
            return False
        return True

    def _refused(
        self, client: Connection, variables: dict[str, Any], settings: Settings
    ) -> Steps[Optional[App]]:
        if settings.bucket is not None and not settings.bucket.take():
            return self._with("rate", _TOO_MANY)
        if not settings.users:
            return None
        login = parse_basic(variables.get("HTTP_AUTHORIZATION"))
        if login is None:
            return self._with("password", _WHO)
        passwords = self._passwords
        check = passwords.check(
            settings.users, login, client.peer, lambda done: self._resume(client, done)
        )
        if passwords.known(check):
            return None
        if not passwords.start(check):
            return self._with("room", _BUSY)
        client.enter(Phase.CHECKING)
        try:
            yield WAIT
        finally:
            check.abandoned = True
        return None if check.passed else self._with("password", _WHO)

    def _answer(
        self,
        client: Connection,
        app: App,
        variables: dict[str, Any],
        headers: Iterable[tuple[str, str]],
    ) -> Steps[None]:
        client.enter(Phase.ANSWERING)
        try:
            response, body = answer(app, variables, headers)
        except Exception as error:
            self._complain("failure", f"request of {client.peer} failed: {error!r}")
            response, body = answer(_BROKEN, variables, headers)
        yield from client.send(response)
        for part in body if variables.get("REQUEST_METHOD") != "HEAD" else ():
            yield from client.send(h11.Data(data=part))
        yield from client.send(h11.EndOfMessage())
        client.enter(Phase.LEAVING)
        yield from client.leave()


def names_of(certificate: dict[str, Any]) -> set[str]:
    """The subject's alternative names, addresses as everybody writes them."""
    return {
        str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name
        for kind, name in certificate.get("subjectAltName", ())
        if kind in ("DNS", "email", "URI", "IP Address")
    }
