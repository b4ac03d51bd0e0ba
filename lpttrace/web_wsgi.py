# SPDX-License-Identifier: GPL-2.0-only
"""Between HTTP and WSGI: a request for an application, and its answer for a client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable
from urllib.parse import unquote_to_bytes

import h11

__all__ = ["App", "Start", "answer", "environ", "plain", "refusal"]

Start = Callable[..., Any]
"""start_response of WSGI."""

App = Callable[[dict[str, Any], Start], Iterable[bytes]]

# Of an absolute target, as proxies write it.
_ORIGIN = re.compile(r"https?://[^/?]*", re.IGNORECASE)


def environ(request: h11.Request) -> dict[str, Any]:
    """The request, in the words of WSGI."""
    target = _ORIGIN.sub("", request.target.decode("ascii"), count=1)
    path, _, query = target.partition("?")
    variables: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") or "/",
        "QUERY_STRING": query,
    }
    for name, value in request.headers:
        # An underscore would make two headers one.
        if b"_" not in name:
            key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
            text = value.decode("latin-1")
            variables[key] = f"{variables[key]},{text}" if key in variables else text
    return variables


def answer(
    app: App, variables: dict[str, Any], more: Iterable[tuple[str, str]] = ()
) -> tuple[h11.Response, Iterable[bytes]]:
    """What the application says, with more headers of ours; the body is made as it is taken."""
    said: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        said.append((status, headers))

    body = app(variables, start)
    status, headers = said[-1]
    ours = [("Date", formatdate(usegmt=True)), ("Connection", "close"), *more]
    code, _, reason = status.partition(" ")
    response = h11.Response(status_code=int(code), headers=[*headers, *ours], reason=reason)
    return response, body


def plain(start: Start, status: str, text: str, kind: str = "text/plain") -> list[bytes]:
    """An answer of text."""
    body = text.encode()
    headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(status, headers)
    return [body]


def refusal(code: int, text: str, *more: tuple[str, str]) -> App:
    """An application that says no."""

    def refuse(_: dict[str, Any], start: Start) -> list[bytes]:
        def starting(status: str, headers: list[tuple[str, str]]) -> None:
            start(status, [*headers, *more])

        return plain(starting, f"{code} {HTTPStatus(code).phrase}", f"{text}\n")

    return refuse
