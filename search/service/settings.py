"""The settings of the service, and the check of its tokens."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from search.submission.local import Launcher
from spaces.errors import UserError
from spaces.file.storage import Locations, Storage

SHORTEST_TOKEN = 16


class ServiceError(UserError):
    """The service cannot start, or must not start without authentication."""


@dataclass(frozen=True)
class Settings:
    """The settings of a service.

    Args:
        storage: Storage of the searches.
        launcher: Starts and stops searches.
        token: Bearer token; None for a service that only this machine reaches.
        read_token: A further token, with which requests can only read.
        data_roots: Folders that may hold the data of submitted searches.
        tasks: Tasks of users, by the names that search files give them, whose code may run.
        requests_per_minute: Limit for one client address.
    """

    storage: Storage
    launcher: Launcher
    token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False)
    data_roots: tuple[Path, ...] = ()
    tasks: tuple[str, ...] = ()
    requests_per_minute: int = 6000

    @property
    def study_url(self) -> str:
        """SQLAlchemy URL of the studies."""
        return Locations.of(self.storage).study_url


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def check_tokens(host: str, token: str | None, read_token: str | None) -> None:
    """Check that a service beyond loopback has a token, and that the tokens are usable.

    Raises:
        ServiceError: The token is missing, or one is too short or no header value, or both are
            equal.
    """
    if token is None:
        if read_token is not None:
            raise ServiceError(
                "--read-token-file: a token that only reads stands beside the full one; set "
                "TLC_TOKEN, or --token-file, too"
            )
        if not is_loopback(host):
            raise ServiceError(
                f"--host: {host} is reachable from other machines, which requires a token: set "
                "TLC_TOKEN, or --token-file, to a secret such as `openssl rand -hex 32` prints"
            )
        return
    for name, each in (("TLC_TOKEN", token), ("TLC_READ_TOKEN", read_token)):
        if each is not None and not _is_usable(each):
            raise ServiceError(
                f"{name}: must be ASCII without spaces, with at least {SHORTEST_TOKEN} characters"
            )
    if token == read_token:
        raise ServiceError("TLC_READ_TOKEN: is the full token; a token that only reads is another")


def _is_usable(token: str) -> bool:
    return len(token) >= SHORTEST_TOKEN and token.isascii() and not any(map(str.isspace, token))
