"""Running the service with uvicorn."""

from __future__ import annotations

import os
import resource
import socket

import click
import uvicorn

from search.service.app import create_app
from search.service.http_protocol import TimeLimitedProtocol
from search.service.settings import ServiceError, Settings

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
