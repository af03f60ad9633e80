"""What happens in a search, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from search.results.queries import StudyQueries
from search.results.schemas import Event
from search.service.problems import responses
from search.service.reading import Name

POLL_SECONDS = 1.0
QUIET_SECONDS = 15.0
"""A comment is sent after as long a silence, so that nobody on the way closes the connection."""
LONGEST_NUMBER = 10
GOES_ON = ("new", "running")

ITEM = {
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
    """The stream of a search's events."""
    routes = APIRouter(tags=["searches"], responses=responses(401, 403, 404, 422, 429, 503))

    @routes.get(
        "/searches/{name}/events",
        summary="What happens in a search, until it ends",
        description=(
            "Server-sent events. A `trial` event has the count of finished trials as its id: sent "
            "back as `Last-Event-ID`, only later trials follow; without it, the stream begins with "
            "the first one. A `state` event comes first and when the state changes."
        ),
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events; each `data` is an Event.",
                "content": {"text/event-stream": {"itemSchema": ITEM}},
            }
        },
    )
    async def events(
        name: Name,
        last_event_id: Annotated[
            str,
            Header(pattern=rf"^[0-9]{{0,{LONGEST_NUMBER}}}$", description="Trials to pass over."),
        ] = "",
    ) -> StreamingResponse:
        # Asked for here, so that a name that is not there is a problem and no broken stream.
        await run_in_threadpool(queries.search, name)
        stream = _stream(queries, name, int(last_event_id or 0))
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    return routes


async def _stream(queries: StudyQueries, name: str, passed: int) -> AsyncIterator[str]:
    follower = queries.follow(name, passed)
    silent = 0.0
    while True:
        news = await run_in_threadpool(next, follower, None)
        if news is None:
            return
        for identity, event in news:
            yield _text(identity, event)
        if any(event.kind == "state" and event.state not in GOES_ON for _, event in news):
            return
        silent = 0.0 if news else silent + POLL_SECONDS
        if silent >= QUIET_SECONDS:
            silent = 0.0
            yield ": quiet\n\n"
        await anyio.sleep(POLL_SECONDS)


def _text(identity: int | None, event: Event) -> str:
    lines = [] if identity is None else [f"id: {identity}"]
    lines += [f"event: {event.kind}", f"data: {event.model_dump_json(exclude_none=True)}"]
    return "\n".join(lines) + "\n\n"
