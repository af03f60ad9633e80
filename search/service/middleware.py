"""Middleware that authenticates requests and limits their origin, size and rate."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

import anyio
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.service.problem_details import send_problem

LARGEST_BODY = 100_000
"""Bytes; a search file has about a thousand."""
BODY_SECONDS = 10.0
"""Time limit for a body."""
DRAIN_SECONDS = 2.0
"""Time during which the rest of a refused body is read and discarded."""
OPEN = ("/health", "/ready")
"""Paths without information that need no token, for monitoring."""
SAFE = ("GET", "HEAD", "OPTIONS")


class RequireToken:
    """Requires the service's bearer token.

    Args:
        app: The next application.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 401 if the token is missing or wrong."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        # In constant time, so that the duration does not reveal a correct prefix.
        if hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        await send_problem(
            scope,
            receive,
            send,
            401,
            "send the header Authorization: Bearer TOKEN, with the service's token",
            {"WWW-Authenticate": "Bearer"},
        )


class RequireSameSite:
    """Refuses changes by pages of other sites (CSRF) and unknown host names (DNS rebinding).

    Args:
        app: The next application.
        hosts: Allowed host names; None allows all, for a service with a token.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else set(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 403 to a page of another site, and to an unknown host name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts is not None and name not in self._hosts:
            detail = f"the host name {name!r} is not allowed; use {', '.join(sorted(self._hosts))}"
        elif origin is not None and scope["method"] not in SAFE and not _is_same(origin, host):
            detail = "pages of other sites may not send this request"
        else:
            await self._app(scope, receive, send)
            return
        await send_problem(scope, receive, send, 403, detail)


def _is_same(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host


class BodyLimit:
    """Refuses bodies that are too large, with or without ``Content-Length``, or too slow.

    Args:
        app: The next application.
        largest: Bytes.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 413 to a body that is too large, and with 408 to one that is too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(BODY_SECONDS):
                body = await self._read(Headers(scope=scope).get("content-length", "0"), receive)
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:g} seconds"
            await send_problem(scope, receive, send, 408, detail, {"Connection": "close"})
            return
        except _Disconnected:
            return
        if body is None:
            detail = f"the body has more than {self._largest:,} bytes"
            refusal = _DrainRequest(receive, send)
            await send_problem(scope, receive, refusal, 413, detail, {"Connection": "close"})
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, content_length: str, receive: Receive) -> bytes | None:
        """The whole body; None if it is too large."""
        if content_length.isdigit() and int(content_length[:20]) > self._largest:
            return None
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                # The received part may be valid by itself but is not what the client meant.
                raise _Disconnected
            part = message.get("body", b"")
            size += len(part)
            if size > self._largest:
                return None
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)


class _Disconnected(Exception):
    """The client disconnected before the end of the body."""


class _DrainRequest:
    """Sends a response at once, and ends it after the rest of the request was discarded.

    Closing a connection with unread bytes resets it, and the client would lose the response.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with anyio.move_on_after(DRAIN_SECONDS):
            while (await self._receive()).get("more_body", False):
                pass
        await self._send({"type": "http.response.body", "body": b""})


class RateLimit:
    """Limits the rate of requests of each client address.

    Args:
        app: The next application.
        per_minute: Requests of one address in a minute.
    """

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self._app = app
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 429 above the limit."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        if self._limiter.hit(self._item, address):
            await self._app(scope, receive, send)
            return
        await send_problem(
            scope,
            receive,
            send,
            429,
            f"more than {self._item.amount} requests in a minute from {address}",
            {"Retry-After": "60"},
        )
