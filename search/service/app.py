"""The service as one FastAPI application: its routes and its middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI, Security, params
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from search.results.queries import StudyQueries
from search.service import (
    action_routes,
    maintenance_routes,
    operations_routes,
    problem_details,
    read_routes,
)
from search.service.middleware import (
    ASSETS,
    DESCRIBED,
    DOCUMENTATION,
    BodyLimit,
    Guard,
    limit_rate,
    require_loopback,
    require_same_site,
    require_token,
)
from search.service.operations_routes import RequestMetrics
from search.service.settings import Settings
from search.service.slow_calls import SlowCalls
from search.service.unknown_inputs import refuse_unknown_inputs
from search.submission.starter import Starter

DESCRIPTION = """Train large, then compress: the best model at a fixed inference cost.

The operations are those of the command line, with the same names and results. Errors are problem
details (RFC 9457) that name the field. The service has no state: several may serve one study.
"""


def create_app(settings: Settings) -> FastAPI:
    """Build the application."""
    starter = Starter(settings.study_url, settings.launcher)

    @asynccontextmanager
    async def begin(_: FastAPI) -> AsyncIterator[None]:
        starter.begin()
        yield

    # Its page of documentation needs no other server, which machines of a cluster may not reach.
    app = FastAPIOffline(
        docs_url=DOCUMENTATION,
        redoc_url=None,
        openapi_url=DESCRIBED,
        static_url=ASSETS,
        title="tlc",
        version=version("tlc-search"),
        description=DESCRIPTION,
        # An unknown search must give 404 and no redirect.
        redirect_slashes=False,
        dependencies=[Depends(refuse_unknown_inputs)],
        lifespan=begin,
    )
    queries = StudyQueries(settings.study_url)
    registry = CollectorRegistry()
    # Only for the OpenAPI description: the middleware checks the token before parsing.
    full, reads = _security(settings)
    app.include_router(read_routes.router(queries), dependencies=reads)
    slow = SlowCalls()
    for router in (
        action_routes.router(queries, starter, settings, slow),
        maintenance_routes.router(settings.study_url, slow),
    ):
        app.include_router(router, dependencies=full)
    app.include_router(operations_routes.router(queries, settings.launcher, registry, reads))
    problem_details.install(app)
    # The middleware that is added last runs first.
    app.add_middleware(BodyLimit)
    if settings.token is not None:
        app.add_middleware(Guard, check=require_token(settings.token, settings.read_token))
    app.add_middleware(Guard, check=require_same_site)
    if settings.token is None:
        app.add_middleware(Guard, check=require_loopback)
    app.add_middleware(Guard, check=limit_rate(settings.requests_per_minute))
    app.add_middleware(RequestMetrics, registry=registry)
    return app


def _security(settings: Settings) -> tuple[list[params.Depends], list[params.Depends]]:
    """What a route that changes something and one that reads take, one of each list."""
    if settings.token is None:
        return [], []
    bearer = HTTPBearer(auto_error=False, description="The service's token.")
    full = [Security(bearer)]
    if settings.read_token is None:
        return full, full
    reader = HTTPBearer(
        auto_error=False, scheme_name="ReadToken", description="A token that only reads."
    )
    return full, [*full, Security(reader)]
