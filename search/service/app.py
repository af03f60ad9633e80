"""The service as one FastAPI application: its routes and its middleware."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from search.results.queries import StudyQueries
from search.service import action_routes, operations_routes, problem_details, read_routes
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
from search.service.unknown_inputs import refuse_unknown_inputs

DESCRIPTION = """Train large, then compress: the best model at a fixed inference cost.

The operations are those of the command line, with the same names and results. Errors are problem
details (RFC 9457) that name the field. The service has no state: several may serve one study.
"""


def create_app(settings: Settings) -> FastAPI:
    """Build the application."""
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
    )
    queries = StudyQueries(settings.study_url)
    registry = CollectorRegistry()
    # Only for the OpenAPI description: the middleware checks the token before parsing.
    bearer = HTTPBearer(auto_error=False, description="The service's token.")
    authentication = [] if settings.token is None else [Security(bearer)]
    for router in (read_routes.router(queries), action_routes.router(queries, settings)):
        app.include_router(router, dependencies=authentication)
    app.include_router(
        operations_routes.router(queries, settings.launcher, registry, authentication)
    )
    problem_details.install(app)
    # The middleware that is added last runs first.
    app.add_middleware(BodyLimit)
    if settings.token is not None:
        app.add_middleware(Guard, check=require_token(settings.token))
    app.add_middleware(Guard, check=require_same_site)
    if settings.token is None:
        app.add_middleware(Guard, check=require_loopback)
    app.add_middleware(Guard, check=limit_rate(settings.requests_per_minute))
    app.add_middleware(RequestMetrics, registry=registry)
    return app
