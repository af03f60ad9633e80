"""Middleware that authenticates requests and limits their origin, size and rate."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import anyio
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.service.problem_details import problem

LARGEST_BODY = 100_000
"""Bytes; a search file has about a thousand."""
BODY_SECONDS = 10.0
"""Time limit for a body."""
DRAIN_SECONDS = 2.0
"""Time during which the rest of a refused body is read and discarded."""
DOCUMENTATION, DESCRIBED, ASSETS = "/docs", "/openapi.json", "/docs-assets"
"""The page of documentation, its OpenAPI description, and its scripts. A browser sends no bearer
token for them: it asks for a password, which is the token."""
OPEN = ("/health", "/ready")
"""Paths without information that need no token, for monitoring."""
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Check = Callable[[Scope], Response | None]
"""Checks the head of a request, and returns the response if it refuses the request."""


class Guard:
    """Refuses the requests that a check refuses."""

    def __init__(self, app: ASGIApp, check: Check) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with the refusal, or pass the request on."""
        refusal = self._check(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


def require_token(token: str, read_token: str | None = None) -> Check:
    """Respond with 401 if the bearer token is missing or wrong, and with 403 to a change with the
    token that only reads.

    The documentation, which has no information of searches, takes either as a password too.
    """
    tokens = [each.encode() for each in (token, read_token) if each is not None]

    def check(scope: Scope) -> Response | None:
        path, given = scope["path"], Headers(scope=scope).get("authorization", "")
        if path in OPEN:
            return None
        is_page = path in (DOCUMENTATION, DESCRIBED) or path.startswith(f"{ASSETS}/")
        sent = given.encode("latin-1")
        # In constant time, and with each token, so that the duration reveals nothing of them.
        is_given = [hmac.compare_digest(sent, b"Bearer " + each) for each in tokens]
        is_password = [hmac.compare_digest(_password(given), each) for each in tokens]
        if is_given[0] or (is_page and any(is_password)):
            return None
        if any(is_given):
            if scope["method"] in SAFE:
                return None
            return problem(403, "this token only reads; to change something, send the full token")
        detail = "send the header Authorization: Bearer TOKEN, with the service's token"
        scheme = 'Basic realm="tlc; the token is the password"' if is_page else "Bearer"
        return problem(401, detail, headers={"WWW-Authenticate": scheme})

    return check


def _password(authorization: str) -> bytes:
    """The password of a header of the scheme Basic; empty of any other."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return b""


def require_same_site(scope: Scope) -> Response | None:
    """Respond with 403 to changes by pages of other sites (CSRF)."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if scope["method"] in SAFE or origin is None:
        return None
    if origin.partition("://")[2] == headers.get("host", ""):
        return None
    return problem(403, "pages of other sites may not send this request")


def require_loopback(scope: Scope) -> Response | None:
    """Respond with 403 to host names of other machines (DNS rebinding)."""
    host = Headers(scope=scope).get("host", "")
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    if name in LOOPBACK:
        return None
    return problem(403, f"the host name {name!r} is not allowed; use {', '.join(LOOPBACK)}")


def limit_rate(per_minute: int) -> Check:
    """Respond with 429 above a number of requests of one client address in a minute."""
    item = RateLimitItemPerMinute(per_minute)
    limiter = FixedWindowRateLimiter(MemoryStorage())

    def check(scope: Scope) -> Response | None:
        address = scope["client"][0] if scope.get("client") else ""
        if scope["path"] in OPEN or limiter.hit(item, address):
            return None
        detail = f"more than {per_minute} requests in a minute from {address}"
        return problem(429, detail, headers={"Retry-After": "60"})

    return check


class BodyLimit:
    """Refuses bodies that are too large, with or without ``Content-Length``, or too slow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 413 to a body that is too large, and with 408 to one that is too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(BODY_SECONDS):
                body = await _read_body(Request(scope, receive))
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:g} seconds"
            refusal = problem(408, detail, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        except ClientDisconnect:
            # The received part may be valid by itself but is not what the client meant.
            return
        if body is None:
            detail = f"the body has more than {LARGEST_BODY:,} bytes"
            refusal = problem(413, detail, headers={"Connection": "close"})
            await refusal(scope, receive, _drain_request(receive, send))
            return
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, replay, send)


async def _read_body(request: Request) -> bytes | None:
    """The whole body; None if it is too large."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced[:20]) > LARGEST_BODY:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _drain_request(receive: Receive, send: Send) -> Send:
    """Sends a response at once, and ends it after the rest of the request was discarded.

    Closing a connection with unread bytes resets it, and the client would lose the response.
    """

    async def send_and_drain(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        with anyio.move_on_after(DRAIN_SECONDS):
            while (await receive()).get("more_body", False):
                pass
        await send({"type": "http.response.body", "body": b""})

    return send_and_drain
