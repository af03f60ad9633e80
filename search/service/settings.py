"""How a service is set up."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from search.submission.local import Launcher
from spaces.errors import UserError
from spaces.file.storage import Locations, Storage

SHORTEST_TOKEN = 16
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class ServiceError(UserError):
    """A service that must not, or cannot, start as it was asked to."""


@dataclass(frozen=True)
class Settings:
    """How a service is set up.

    Args:
        storage: Where the searches are kept; its study has a URL.
        launcher: Where searches run.
        token: Bearer token; None where only this machine can ask.
        data_roots: Folders below which the data of a search may be.
        requests_per_minute: Of one address.
    """

    storage: Storage
    launcher: Launcher
    token: str | None = field(default=None, repr=False)
    data_roots: tuple[Path, ...] = ()
    requests_per_minute: int = 6000

    @property
    def study_url(self) -> str:
        """SQLAlchemy URL of the studies."""
        return Locations.of(self.storage).study_url


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(host: str, token: str | None) -> None:
    """Make sure that whoever reaches a service may use it.

    Raises:
        ServiceError: Others than this machine reach it and it has no token, or a short one.
    """
    if token is None:
        if not is_loopback(host):
            raise ServiceError(
                f"--host: {host} is reached from other machines, which needs a token: set "
                "TLC_TOKEN, or --token-file, to a secret such as `openssl rand -hex 32` prints"
            )
        return
    if len(token) < SHORTEST_TOKEN or not token.isascii() or any(c.isspace() for c in token):
        raise ServiceError(
            f"TLC_TOKEN: must be ASCII without spaces, of {SHORTEST_TOKEN} characters at least"
        )
