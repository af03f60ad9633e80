"""A typed client of the service, with the query results of ``StudyQueries``.

>>> from search.results.client import Client
>>> client = Client("http://127.0.0.1:8470")
>>> client.best("default", max_size_mb=0.2).trial.result["score"]  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from pydantic import TypeAdapter, ValidationError

from search.results.schemas import (
    Best,
    Event,
    Frontier,
    Level,
    Prediction,
    Search,
    Started,
    Summary,
    TrialDetails,
    TrialPage,
)
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError

TIMEOUT_SECONDS = 30.0
START_SECONDS = 900.0
"""Timeout of starting a search, for which the nodes of a cluster first install packages."""

Kind = TypeVar("Kind")


class ServiceError(UserError):
    """The service refused a request, or cannot be reached.

    Args:
        message: For the user.
        status: HTTP status; 0 without a response.
        problem: Problem details (RFC 9457).
    """

    def __init__(
        self, message: str, *, status: int = 0, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


class Client:
    """The operations of the service.

    Args:
        url: Where it listens, such as ``http://127.0.0.1:8470``.
        token: Its bearer token, if it has one.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        # A .netrc of the machine would otherwise replace the token.
        self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def searches(self) -> list[Summary]:
        """All searches, by name."""
        return self._send(list[Summary], "GET", "/searches")

    def search(self, name: str) -> Search:
        """One search."""
        return self._send(Search, "GET", _path(name))

    def trials(
        self,
        name: str,
        *,
        state: str | None = None,
        on_frontier: bool = False,
        repeats: bool = False,
        order: str = "number",
        offset: int = 0,
        limit: int = 100,
        **limits: float,
    ) -> TrialPage:
        """A page of the trials of a search, as ``StudyQueries.trials``.

        Args:
            limits: As of ``best``.

        Raises:
            TypeError: A limit is of no cost.
        """
        page = {"order": order, "offset": offset, "limit": limit}
        kept = {"state": state, "on_frontier": on_frontier, "repeats": repeats}
        query = {**kept, **_limits(limits), **page}
        return self._send(TrialPage, "GET", f"{_path(name)}/trials", query=query)

    def trial(self, name: str, number: int) -> TrialDetails:
        """One trial with its training curve."""
        return self._send(TrialDetails, "GET", f"{_path(name)}/trials/{number}")

    def frontier(self, name: str) -> Frontier:
        """The frontier of a search, and what it is compared with."""
        return self._send(Frontier, "GET", f"{_path(name)}/frontier")

    def best(self, name: str, **limits: float) -> Best:
        """The best model within limits, or the nearest.

        Args:
            limits: ``max_size_mb``, ``max_latency_ms`` and so on, as in search files.

        Raises:
            TypeError: A limit is of no cost.
        """
        return self._send(Best, "GET", f"{_path(name)}/best", query=_limits(limits))

    def levels(self, name: str) -> list[Level]:
        """The best score at each fixed cost, the cheapest first."""
        return self._send(list[Level], "GET", f"{_path(name)}/levels")

    def what_if(self, name: str, values: Mapping[str, Any]) -> Prediction:
        """The predicted score of a configuration, given by its dimensions."""
        body = {"values": dict(values)}
        return self._send(Prediction, "POST", f"{_path(name)}/what-if", body=body)

    def submit(self, search: str | Mapping[str, Any], overrides: Sequence[str] = ()) -> Started:
        """Start a search, given as the name of a ready-made one or as a search file."""
        named = search if isinstance(search, str) else dict(search)
        body = {"search": named, "overrides": list(overrides)}
        return self._send(Started, "POST", "/searches", body=body, timeout=START_SECONDS)

    def stop(self, name: str) -> None:
        """Stop a search; finished trials are kept."""
        self._send(object, "POST", f"{_path(name)}/stop")

    def resume(self, name: str) -> Started:
        """Resume a search."""
        return self._send(Started, "POST", f"{_path(name)}/resume", timeout=START_SECONDS)

    def events(self, name: str) -> Iterator[Event]:
        """The events of a search as they happen, until it ends."""
        headers = {"Accept": "text/event-stream"}
        address = f"{self._url}{_path(name)}/events"
        try:
            with self._session.get(
                address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS
            ) as response:
                _check(response)
                for line in response.iter_lines(chunk_size=1):
                    if line.startswith(b"data:"):
                        yield self._parse(Event, line.removeprefix(b"data:"))
        except requests.RequestException as error:
            raise ServiceError(f"the service at {self._url} cannot be reached: {error}") from error

    def _send(
        self,
        kind: type[Kind],
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Kind:
        try:
            response = self._session.request(
                method, f"{self._url}{path}", json=body, params=query, timeout=timeout
            )
        except (requests.RequestException, ValueError) as error:
            raise ServiceError(f"--server: no service at {self._url}: {error}") from error
        _check(response)
        return self._parse(kind, response.content or b"null")

    def _parse(self, kind: type[Kind], content: bytes) -> Kind:
        try:
            return TypeAdapter(kind).validate_json(content)
        except ValidationError as error:
            raise ServiceError(
                f"--server: the server at {self._url} is not a tlc service"
            ) from error


def _check(response: requests.Response) -> None:
    if response.ok:
        return
    try:
        problem = response.json()
    except (requests.JSONDecodeError, RecursionError):
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    faults = [
        f"{error.get('field', '')}: {error.get('detail', '')}".removeprefix(": ")
        for error in problem.get("errors") or []
        if isinstance(error, dict)
    ]
    message = problem.get("detail") or f"{response.status_code} {response.reason}"
    raise ServiceError(
        "\n".join(faults) or str(message), status=response.status_code, problem=problem
    )


def _limits(limits: Mapping[str, float]) -> dict[str, float]:
    """Limits as parameters of a request.

    Raises:
        TypeError: One is of no cost.
    """
    allowed = [cost.constraint for cost in COSTS.values()]
    for name in limits:
        if name not in allowed:
            raise TypeError(f"{name}: is no limit; allowed: {', '.join(allowed)}")
    return dict(limits)


def _path(name: str) -> str:
    return f"/searches/{quote(name, safe='')}"
