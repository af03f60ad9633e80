"""Routes for operators: health, readiness and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.params import Depends
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.results.queries import StudyQueries
from search.service.problem_details import responses
from search.service.readiness import Check
from search.storage.errors import StudyUnavailable
from search.submission.local import Launcher

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Health(BaseModel):
    """The service responds."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What the service can do now."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ok", "degraded"]
    """``degraded``: searches can be read, and none can be started."""
    away: list[Literal["ray"]]
    """What cannot be reached."""


class RequestMetrics:
    """Middleware that counts requests and their duration."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "tlc_requests", "Requests.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "tlc_request_seconds", "Duration of requests in seconds.", ["method", "route"],
            registry=registry,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, record_status)
        finally:
            # Paths and methods are unbounded, so the labels are the route and a known method.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" and scope["method"] in METHODS else "none"
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - started)


class SearchMetrics(Collector):
    """The state of every search, read when Prometheus scrapes it."""

    def __init__(self, queries: StudyQueries) -> None:
        self._queries = queries

    def collect(self) -> Iterable[Metric]:
        """Trials by state, hypervolume and best score of each search."""
        trials = GaugeMetricFamily("tlc_trials", "Trials.", labels=["search", "state"])
        volume = GaugeMetricFamily(
            "tlc_hypervolume", "Hypervolume as a fraction of the reference box.", labels=["search"]
        )
        best = GaugeMetricFamily("tlc_best_score", "Best score.", labels=["search", "metric"])
        running = GaugeMetricFamily(
            "tlc_search_running", "Whether the search runs.", labels=["search"]
        )
        for search in self._queries.searches():
            for state in ("complete", "running", "failed"):
                trials.add_metric([search.name, state], getattr(search, state))
            volume.add_metric([search.name], search.hypervolume)
            running.add_metric([search.name], float(search.state == "running"))
            if search.best_score is not None:
                best.add_metric([search.name, search.metric], search.best_score)
        return [trials, volume, best, running]

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registration does not read the studies."""
        return []


def router(
    queries: StudyQueries,
    launcher: Launcher,
    registry: CollectorRegistry,
    authentication: Sequence[Depends],
) -> APIRouter:
    """The routes for operators."""
    routes = APIRouter(tags=["operations"])
    can_read, can_start = Check(partial(_can_read, queries)), Check(launcher.can_start)

    @routes.get("/health", summary="Whether the service responds", responses=responses(403, 422))
    async def health() -> Health:
        return Health()

    @routes.get(
        "/ready",
        summary="Whether the service can read the studies and start searches",
        responses=responses(403, 422, 503),
    )
    async def ready() -> Readiness:
        reads, starts = await asyncio.gather(can_read(), can_start())
        if not reads:
            # This route needs no token and must not reveal the address of the database.
            raise StudyUnavailable("the studies cannot be read")
        if not starts:
            return Readiness(status="degraded", away=["ray"])
        return Readiness(status="ok", away=[])

    registry.register(SearchMetrics(queries))

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        dependencies=authentication,
        response_class=Response,
        responses={
            **responses(401, 403, 422, 429, 503),
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _can_read(queries: StudyQueries) -> bool:
    try:
        queries.names()
    except StudyUnavailable:
        return False
    return True
