"""Free ports of this machine, and ports that a process listens on."""

from __future__ import annotations

import socket

import psutil


def free_port() -> int:
    """A loopback port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether a process listens on a port."""
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in psutil.net_connections("tcp")
    )
