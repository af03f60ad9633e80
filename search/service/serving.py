"""Listening."""

from __future__ import annotations

import os
import resource
import socket

import click
import uvicorn

from search.service.app import create_app
from search.service.connections import Connection
from search.service.settings import ServiceError, Settings

SHUTDOWN_SECONDS = 3
"""Seconds that open streams have to end: they never end by themselves."""


def listen(settings: Settings, host: str, port: int) -> None:
    """Serve until it is stopped.

    Raises:
        ServiceError: The address cannot be listened on, or the studies cannot be read.
    """
    app = create_app(settings)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServiceError(f"--host, --port: cannot listen on {host}:{port}: {error}") from error
    with listener:
        place = f"[{host}]" if ":" in host else host
        url = f"http://{place}:{listener.getsockname()[1]}"
        click.echo(f"tlc service: {url}  (documentation: {url}/docs; Ctrl-C stops it)")
        _allow_many_connections()
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            # uvicorn believes X-Forwarded-For of everybody on this machine, who would then have no
            # limit of requests.
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        )
        uvicorn.Server(config).run(sockets=[listener])


def _allow_many_connections() -> None:
    """Let the process have as many open files as the system grants: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
