"""Who may ask, how much, and how often: middleware in front of everything else."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

import anyio
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.service.problems import send_problem

LARGEST_BODY = 100_000
"""Bytes; a search file is a thousand."""
BODY_SECONDS = 10.0
"""Seconds in which a body has to be there."""
LINGERING_SECONDS = 2.0
"""Seconds in which the rest of a body that is refused is still taken, and thrown away."""
OPEN = ("/health", "/ready")
"""Addresses that tell nothing and need no token, for whoever watches the service."""
SAFE = ("GET", "HEAD", "OPTIONS")


class Bearer:
    """Lets in who has the token.

    Args:
        app: What is behind it.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 without the token."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        # In constant time: how long a comparison takes must not tell how much was right.
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


class SameSite:
    """Keeps pages of other sites from acting through the browser of who may.

    Args:
        app: What is behind it.
        hosts: Names by which the service may be called; every name where it has a token.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else set(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to another site's page, or to a name that is not the service's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts is not None and name not in self._hosts:
            detail = f"the service does not answer to the name {name!r}"
        elif origin is not None and scope["method"] not in SAFE and not _is_same(origin, host):
            detail = "pages of other sites may not do this"
        else:
            await self._app(scope, receive, send)
            return
        await send_problem(scope, receive, send, 403, detail)


def _is_same(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host


class BodyLimit:
    """Refuses bodies that are too large, whether or not they say so beforehand, or too slow.

    Args:
        app: What is behind it.
        largest: Bytes.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 to a body that is too large, and 408 to one that does not come."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(BODY_SECONDS):
                body = await self._read(Headers(scope=scope).get("content-length", "0"), receive)
        except TimeoutError:
            detail = f"the body did not come within {BODY_SECONDS:g} seconds"
            await send_problem(scope, receive, send, 408, detail, {"Connection": "close"})
            return
        except _Gone:
            return
        if body is None:
            detail = f"the body has more than {self._largest:,} bytes"
            refusal = _Lingering(receive, send)
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

    async def _read(self, said: str, receive: Receive) -> bytes | None:
        """The whole body; None where it is too large."""
        if said.isdigit() and int(said[:20]) > self._largest:
            return None
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                # What came may be whole in itself, and is not what was meant.
                raise _Gone
            part = message.get("body", b"")
            size += len(part)
            if size > self._largest:
                return None
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)


class _Gone(Exception):
    """Who asked has hung up before the end of the body."""


class _Lingering:
    """Sends an answer at once, and ends it only when the rest of the request was thrown away.

    A connection that is closed with bytes unread is reset, and the answer is lost with it.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with anyio.move_on_after(LINGERING_SECONDS):
            while (await self._receive()).get("more_body", False):
                pass
        await self._send({"type": "http.response.body", "body": b""})


class RateLimit:
    """Refuses who asks too often; each address on its own.

    Args:
        app: What is behind it.
        per_minute: Requests of one address in a minute.
    """

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self._app = app
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429 to who asks too often."""
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
