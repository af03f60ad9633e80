"""The events of a search as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from search.results.queries import StudyQueries
from search.results.schemas import Event
from search.service.problem_details import responses
from search.service.read_routes import Name

POLL_SECONDS = 1.0
LONGEST_NUMBER = 10
"""Digits of a ``Last-Event-ID``."""

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


def router(queries: StudyQueries) -> APIRouter:
    """The route that streams the events of a search."""
    routes = APIRouter(tags=["searches"], responses=responses(401, 403, 404, 422, 429, 503))

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
            200: {
                "description": "Server-sent events; each `data` is an Event.",
                "content": {"text/event-stream": {"itemSchema": EVENT_SCHEMA}},
            }
        },
    )
    async def events(
        name: Name,
        last_event_id: Annotated[
            str,
            Header(pattern=rf"^[0-9]{{0,{LONGEST_NUMBER}}}$", description="Trials to skip."),
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
