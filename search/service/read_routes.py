"""Routes that only read: queries, and the events of a search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from search.results.queries import LONGEST_PAGE, Order, StudyQueries
from search.results.schemas import (
    Best,
    Event,
    Frontier,
    Level,
    Search,
    Summary,
    TrialDetails,
    TrialPage,
)
from search.service.problem_details import responses
from spaces.file.search_file import NAME_PATTERN

LARGEST_NUMBER = 2**31 - 1
POLL_SECONDS = 1.0
EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "enum": ["trial", "state"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": Event.model_json_schema(),
        },
    },
    "required": ["data"],
}
"""One event (OpenAPI 3.2, ``itemSchema``)."""

Name = Annotated[
    str, Path(description="Name of the search.", pattern=NAME_PATTERN, examples=["default"])
]


def _limit(description: str) -> Any:
    return Query(ge=1e-9, le=1e30, allow_inf_nan=False, description=description)


def _limits(
    max_size_mb: Annotated[float | None, _limit("Megabytes (10^6 bytes).")] = None,
    max_latency_ms: Annotated[
        float | None, _limit("Milliseconds (10th percentile, corrected for a slowed machine).")
    ] = None,
    max_flops: Annotated[float | None, _limit("FLOPs for a sequence.")] = None,
    max_first_token_ms: Annotated[
        float | None, _limit("Milliseconds to the first token, if the search measured them.")
    ] = None,
    max_token_ms: Annotated[
        float | None, _limit("Milliseconds of each further token, if the search measured them.")
    ] = None,
    max_example_ms: Annotated[
        float | None,
        _limit("Milliseconds per example in a large batch, if the search measured them."),
    ] = None,
    max_memory_mb: Annotated[
        float | None, _limit("Megabytes of peak memory, if the search measured them.")
    ] = None,
) -> dict[str, float]:
    given = {
        "size_mb": max_size_mb,
        "latency_ms": max_latency_ms,
        "flops": max_flops,
        "first_token_ms": max_first_token_ms,
        "token_ms": max_token_ms,
        "example_ms": max_example_ms,
        "memory_mb": max_memory_mb,
    }
    return {cost: limit for cost, limit in given.items() if limit is not None}


Limits = Annotated[dict[str, float], Depends(_limits)]


def router(queries: StudyQueries) -> APIRouter:
    """The routes that only read."""
    routes = APIRouter(tags=["searches"], responses=responses(401, 403, 422, 429, 503))
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
        limits: Limits,
        state: Annotated[
            str | None,
            Query(
                description="`running`, `complete`, `failed`, or the name of a failure.",
                max_length=64,
            ),
        ] = None,
        on_frontier: Annotated[bool, Query(description="Only the trials on the frontier.")] = False,
        repeats: Annotated[
            bool, Query(description="The repeats with further seeds, in place of the trials.")
        ] = False,
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
            repeats=repeats,
            limits=limits,
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
    def frontier(name: Name) -> Frontier:
        return queries.frontier(name)

    @routes.get(
        "/searches/{name}/best",
        summary="The best model within limits, or the nearest",
        responses=for_search,
    )
    def best(name: Name, limits: Limits) -> Best:
        return queries.best(name, limits)

    @routes.get(
        "/searches/{name}/levels",
        summary="The best score at each fixed inference cost",
        responses=for_search,
    )
    def levels(name: Name) -> list[Level]:
        return queries.levels(name)

    def require_search(name: Name) -> None:
        # A dependency runs before the stream begins, so that an unknown name is a 404.
        queries.search(name)

    @routes.get(
        "/searches/{name}/events",
        summary="The events of a search until it ends",
        description=(
            "Server-sent events. The id of a `trial` event is the number of finished trials: a "
            "client that sends it back as `Last-Event-ID` gets later trials only; without it, the "
            "stream starts with the first trial. A `state` event is the first event, and follows "
            "each change of the state."
        ),
        response_class=EventSourceResponse,
        dependencies=[Depends(require_search)],
        responses={
            **for_search,
            200: {
                "description": "Server-sent events; each `data` is an Event.",
                "content": {"text/event-stream": {"itemSchema": EVENT_SCHEMA}},
            },
        },
    )
    async def events(
        name: Name,
        last_event_id: Annotated[
            str,
            Header(pattern="^[0-9]{0,10}$", description="Trials to skip."),
        ] = "",
    ) -> AsyncIterator[ServerSentEvent]:
        follower = queries.follow(name, int(last_event_id or 0))
        while (news := await run_in_threadpool(next, follower, None)) is not None:
            for number, event in news:
                yield ServerSentEvent(
                    data=event.model_dump(mode="json", exclude_none=True),
                    event=event.kind,
                    id=None if number is None else str(number),
                )
            await anyio.sleep(POLL_SECONDS)

    return routes
