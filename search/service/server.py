"""Running the service with uvicorn, with a time limit for the head of a request."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

import click
import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from search.service.app import create_app
from search.service.settings import ServiceError, Settings

HEADER_SECONDS = 10.0
"""Time limit for the head of a request, from its first byte or the start of the connection."""
SHUTDOWN_SECONDS = 3
"""Time for open event streams to end at shutdown."""


def listen(settings: Settings, host: str, port: int) -> None:
    """Serve until the process is stopped.

    Raises:
        ServiceError: The address is not available.
    """
    app = create_app(settings)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServiceError(f"--host, --port: cannot listen on {host}:{port}: {error}") from error
    with listener:
        # asyncio sets it only where a socket was made for TCP by name. Without it the body of each
        # response on a kept connection waits 40 ms for the acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        click.echo(f"tlc service: {url}  (documentation: {url}/docs; Ctrl-C stops it)")
        _allow_many_connections()
        config = uvicorn.Config(
            app,
            http=TimeLimitedProtocol,
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            # By default uvicorn trusts X-Forwarded-For of every local client, which would
            # bypass the rate limit.
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        )
        uvicorn.Server(config).run(sockets=[listener])


def _allow_many_connections() -> None:
    """Raise the limit of open files to the hard limit: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class TimeLimitedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with a time limit for the head of a request.

    uvicorn waits for the rest of a head without a limit, so that a few hundred connections that
    send a byte a second would exhaust the service. Bodies have their own limit (``BodyLimit``), and
    uvicorn itself closes connections that are idle between two requests.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Stop the timer when the head is complete; start it for the next one."""
        super().data_received(data)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop_timer()

    def _update_timer(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
