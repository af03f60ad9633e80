"""For whoever keeps the service running: health, readiness, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.params import Depends
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.results.queries import StudyQueries
from search.service.problems import responses
from search.storage.errors import StudyUnavailable

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Health(BaseModel):
    """The service is there."""

    status: Literal["ok"] = "ok"


class Measured:
    """Counts requests and the seconds that they took.

    Args:
        app: What is behind it.
        registry: Where the counts are kept.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "tlc_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "tlc_request_seconds", "Seconds until a request was answered.", ["method", "route"],
            registry=registry,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            # The pattern and not the path, of which there is no end, as of methods.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" and scope["method"] in METHODS else "none"
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - started)


class Searches(Collector):
    """The state of every search, read when it is asked for.

    Args:
        queries: What knows it.
    """

    def __init__(self, queries: StudyQueries) -> None:
        self._answers = queries

    def collect(self) -> Iterable[Metric]:
        """Trials by state, hypervolume and best score of each search."""
        trials = GaugeMetricFamily("tlc_trials", "Trials.", labels=["search", "state"])
        volume = GaugeMetricFamily(
            "tlc_hypervolume", "Share of the box that the frontier dominates.", labels=["search"]
        )
        best = GaugeMetricFamily("tlc_best_score", "Best score.", labels=["search", "metric"])
        running = GaugeMetricFamily(
            "tlc_search_running", "Whether the search runs.", labels=["search"]
        )
        for search in self._answers.searches():
            for state in ("complete", "running", "failed"):
                trials.add_metric([search.name, state], getattr(search, state))
            volume.add_metric([search.name], search.hypervolume)
            running.add_metric([search.name], float(search.state == "running"))
            if search.best_score is not None:
                best.add_metric([search.name, search.metric], search.best_score)
        return [trials, volume, best, running]

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the studies."""
        return []


def router(
    queries: StudyQueries,
    registry: CollectorRegistry,
    is_ready: Callable[[], object],
    who_may: Sequence[Depends],
) -> APIRouter:
    """Addresses for whoever keeps the service running."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/health", summary="Whether the service is there", responses=responses(403))
    async def health() -> Health:
        return Health()

    @routes.get("/ready", summary="Whether it reaches the studies", responses=responses(403, 503))
    def ready() -> Health:
        try:
            is_ready()
        except StudyUnavailable:
            # Whoever asks has no token, and need not know where the database is.
            raise StudyUnavailable("the studies cannot be read") from None
        return Health()

    registry.register(Searches(queries))

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        dependencies=who_may,
        response_class=Response,
        responses={
            **responses(401, 403, 429, 503),
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
