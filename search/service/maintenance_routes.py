"""Routes that delete and rename searches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from search.results.changes import PlannedDeletion, Renaming
from search.service.problem_details import responses
from search.service.read_routes import Name
from search.service.slow_calls import SlowCalls
from spaces.file.search_file import NAME_PATTERN


class NewName(BaseModel):
    """The new name of a search."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=NAME_PATTERN, examples=["default-2"])]
    """One that no search has."""


def router(study_url: str, slow: SlowCalls) -> APIRouter:
    """The routes that delete and rename."""
    routes = APIRouter(tags=["searches"], responses=responses(401, 403, 404, 422, 429, 503))

    def planned(name: str) -> PlannedDeletion:
        # It imports MLflow.
        from search.maintenance.searches import Searches

        return Searches(study_url).planned_deletion(name)

    def deleted(name: str) -> PlannedDeletion:
        from search.maintenance.searches import Searches

        return Searches(study_url).delete(name)

    def renamed(name: str, new: str) -> Renaming:
        from search.maintenance.searches import Searches

        return Searches(study_url).rename(name, new)

    @routes.get("/searches/{name}/deletion", summary="What its deletion would delete")
    async def deletion(name: Name) -> PlannedDeletion:
        return await slow(planned, name)

    @routes.delete(
        "/searches/{name}",
        summary="Delete a search, its runs in MLflow, and what only it has in the store",
        responses=responses(409),
    )
    async def delete(name: Name) -> PlannedDeletion:
        return await slow(deleted, name)

    @routes.post(
        "/searches/{name}/rename",
        summary="Rename a search, with its experiment in MLflow and its reports",
        responses=responses(400, 408, 409, 413),
    )
    async def rename(name: Name, request: Annotated[NewName, Body()]) -> Renaming:
        return await slow(renamed, name, request.name)

    return routes
