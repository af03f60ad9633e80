"""Routes that only read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from search.results.queries import LONGEST_PAGE, Order, StudyQueries
from search.results.schemas import (
    Best,
    FrontierMember,
    Level,
    Search,
    Summary,
    TrialDetails,
    TrialPage,
)
from search.service.problem_details import responses
from spaces.file.search_file import NAME_PATTERN

LARGEST_NUMBER = 2**31 - 1
LEAST_LIMIT, LARGEST_LIMIT = 1e-9, 1e30

Name = Annotated[
    str, Path(description="Name of the search.", pattern=NAME_PATTERN, examples=["default"])
]


def _limit(description: str) -> Any:
    return Query(ge=LEAST_LIMIT, le=LARGEST_LIMIT, allow_inf_nan=False, description=description)


class Limits:
    """Query parameters that limit costs."""

    def __init__(
        self,
        max_size_mb: Annotated[float | None, _limit("Megabytes (10^6 bytes).")] = None,
        max_latency_ms: Annotated[float | None, _limit("Milliseconds (10th percentile).")] = None,
        max_flops: Annotated[float | None, _limit("FLOPs for a sequence.")] = None,
    ) -> None:
        given = {"size_mb": max_size_mb, "latency_ms": max_latency_ms, "flops": max_flops}
        self.by_cost = {cost: limit for cost, limit in given.items() if limit is not None}


def router(queries: StudyQueries) -> APIRouter:
    """The routes that only read."""
    routes = APIRouter(tags=["searches"], responses=responses(401, 403, 429, 503))
    for_search = responses(404, 422)

    @routes.get("/searches", summary="All searches and their progress")
    def searches() -> list[Summary]:
        return queries.searches()

    @routes.get("/searches/{name}", summary="One search", responses=for_search)
    def search(name: Name) -> Search:
        return queries.search(name)

    @routes.get("/searches/{name}/trials", summary="Its trials, in pages", responses=for_search)
    def trials(
        name: Name,
        limits: Annotated[Limits, Depends()],
        state: Annotated[
            str | None,
            Query(
                description="`running`, `complete`, `failed`, or the name of a failure.",
                max_length=64,
            ),
        ] = None,
        on_frontier: Annotated[bool, Query(description="Only the trials on the frontier.")] = False,
        order: Annotated[
            Order, Query(description="`score`: best first; `-` reverses the order.")
        ] = "number",
        offset: Annotated[int, Query(ge=0, le=LARGEST_NUMBER)] = 0,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 100,
    ) -> TrialPage:
        return queries.trials(
            name,
            state=state,
            on_frontier=on_frontier,
            limits=limits.by_cost,
            order=order,
            offset=offset,
            limit=limit,
        )

    @routes.get(
        "/searches/{name}/trials/{number}",
        summary="One trial, with its training curve",
        responses=for_search,
    )
    def trial(name: Name, number: Annotated[int, Path(ge=0, le=LARGEST_NUMBER)]) -> TrialDetails:
        return queries.trial(name, number)

    @routes.get("/searches/{name}/frontier", summary="Its frontier", responses=for_search)
    def frontier(name: Name) -> list[FrontierMember]:
        return queries.frontier(name)

    @routes.get(
        "/searches/{name}/best",
        summary="The best model within limits, or the nearest",
        responses=for_search,
    )
    def best(name: Name, limits: Annotated[Limits, Depends()]) -> Best:
        return queries.best(name, limits.by_cost)

    @routes.get(
        "/searches/{name}/levels",
        summary="The best score at each fixed inference cost",
        responses=for_search,
    )
    def levels(name: Name) -> list[Level]:
        return queries.levels(name)

    return routes
