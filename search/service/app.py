"""The service as one application: what is behind what."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry

from search.results.queries import StudyQueries
from search.service import acting, operations, problems, reading, streaming
from search.service.operations import Measured
from search.service.protection import Bearer, BodyLimit, RateLimit, SameSite
from search.service.settings import LOOPBACK, Settings

DESCRIPTION = """Train large, then compress: the best model at a fixed inference cost.

The same verbs as the command line, with the same names and the same queries. Errors are problem
details (RFC 9457) that name the field. The service keeps no state: several may run on one study.
"""


def create_app(settings: Settings) -> FastAPI:
    """The service."""
    app = FastAPI(
        title="tlc",
        version=version("tlc-search"),
        description=DESCRIPTION,
        # A search that a client asks for in vain is no other address.
        redirect_slashes=False,
    )
    queries = StudyQueries(settings.study_url)
    registry = CollectorRegistry()
    # For the interface's description alone: the middleware refuses before anything is parsed.
    bearer = HTTPBearer(auto_error=False, description="The service's token.")
    who_may = [] if settings.token is None else [Security(bearer)]
    for router in (
        reading.router(queries),
        acting.router(queries, settings),
        streaming.router(queries),
    ):
        app.include_router(router, dependencies=who_may)
    app.include_router(operations.router(queries, registry, queries.names, who_may))
    problems.install(app)
    # The last that is added comes first.
    app.add_middleware(BodyLimit)
    if settings.token is not None:
        app.add_middleware(Bearer, token=settings.token)
    app.add_middleware(SameSite, hosts=LOOPBACK if settings.token is None else None)
    app.add_middleware(RateLimit, per_minute=settings.requests_per_minute)
    app.add_middleware(Measured, registry=registry)
    return app
