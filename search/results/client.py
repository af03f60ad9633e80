"""A typed client of the service, with the query results of ``StudyQueries``.

>>> from search.results.client import Client
>>> client = Client("http://127.0.0.1:8470")
>>> client.best("default", max_size_mb=0.2).trial.result["score"]  # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from pydantic import TypeAdapter, ValidationError

from search.results.changes import PlannedDeletion, Renaming
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
from search.storage.states import ACTIVE
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError

TIMEOUT_SECONDS = 30.0
LONG_SECONDS = 600.0
"""Timeout of what waits for MLflow or for a large store."""
RECONNECT_SECONDS = 1.0
AWAY_SECONDS = 300.0
"""For which a service may be away while its events are followed."""
UNAVAILABLE = (429, 503)
"""Statuses after which a request may be sent again."""

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
        """Submit a search, given as the name of a ready-made one or as a search file.

        The service then starts it: the state of ``search`` is ``submitted``, ``starting``, and
        ``running``, or ``failed to start`` with the reason in ``ended``.
        """
        named = search if isinstance(search, str) else dict(search)
        body = {"search": named, "overrides": list(overrides)}
        return self._send(Started, "POST", "/searches", body=body)

    def stop(self, name: str) -> None:
        """Stop a search; finished trials are kept."""
        self._send(object, "POST", f"{_path(name)}/stop")

    def planned_deletion(self, name: str) -> PlannedDeletion:
        """What ``delete`` would delete."""
        return self._send(PlannedDeletion, "GET", f"{_path(name)}/deletion", timeout=LONG_SECONDS)

    def delete(self, name: str) -> PlannedDeletion:
        """Delete a search; returns what was deleted."""
        return self._send(PlannedDeletion, "DELETE", _path(name), timeout=LONG_SECONDS)

    def rename(self, name: str, new: str) -> Renaming:
        """Rename a search, with its experiment in MLflow and its reports."""
        body, path = {"name": new}, f"{_path(name)}/rename"
        return self._send(Renaming, "POST", path, body=body, timeout=LONG_SECONDS)

    def resume(self, name: str) -> Started:
        """Resume a search, as ``submit``."""
        return self._send(Started, "POST", f"{_path(name)}/resume")

    def events(self, name: str) -> Iterator[Event]:
        """The events of a search as they happen, until it ends.

        Where the connection is lost, it is made again, and the events that were missed follow:
        each once.

        Raises:
            ServiceError: The service cannot be reached, or was away for ``AWAY_SECONDS``.
        """
        last_id, state, running = "", "", set[int | None]()
        give_up = time.monotonic()
        while True:
            away = ServiceError(f"the service at {self._url} ended the events of {name!r}")
            try:
                for new_id, event in self._stream(name, last_id):
                    last_id, give_up = new_id, time.monotonic() + AWAY_SECONDS
                    # A stream begins with what goes on, which the one before it may have told.
                    if event.kind == "state":
                        is_new, state = event.state != state, event.state
                    else:
                        is_new = event.state != "running" or event.trial not in running
                        running.add(event.trial)
                    if is_new:
                        yield event
                if state not in ACTIVE:
                    return
            except requests.RequestException as error:
                away = ServiceError(f"the service at {self._url} cannot be reached: {error}")
            except ServiceError as error:
                if error.status not in UNAVAILABLE:
                    raise
                away = error
            if time.monotonic() > give_up:
                raise away
            time.sleep(RECONNECT_SECONDS)

    def _stream(self, name: str, last_id: str) -> Iterator[tuple[str, Event]]:
        """Events of one connection, each with the last id until then."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
        with self._session.get(
            f"{self._url}{_path(name)}/events",
            headers=headers,
            stream=True,
            timeout=TIMEOUT_SECONDS,
        ) as response:
            _check(response)
            data, new_id = b"", ""
            # An event ends with an empty line; one that was cut off does not count.
            for line in response.iter_lines(chunk_size=1):
                if line.startswith(b"id:"):
                    new_id = line.removeprefix(b"id:").strip().decode()
                elif line.startswith(b"data:"):
                    data = line.removeprefix(b"data:")
                elif not line and data:
                    last_id = new_id or last_id
                    yield last_id, self._parse(Event, data)
                    data, new_id = b"", ""

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
