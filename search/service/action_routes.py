"""Routes that start, stop and resume searches, and the prediction, whose request has a body."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, field_validator

from search.results.queries import StudyQueries
from search.results.schemas import Prediction, Started
from search.service.problem_details import responses
from search.service.read_routes import Name
from search.service.settings import Settings
from search.service.submitted_search import submitted_search
from search.storage.study import Study

LONGEST_TEXT = 1000
LONGEST_OVERRIDES = 5000
"""Characters of all overrides together; each is parsed as YAML."""

Text = Annotated[str, Field(max_length=64)]


class Submission(BaseModel):
    """A search to start."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [{"search": "default", "overrides": ["name=packages", "trials=40"]}]
        },
    )

    search: Text | dict[str, Any]
    """Name of a ready-made search, or a whole search file (``tlc schema`` prints its schema)."""
    overrides: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field(
        default=[], max_length=200
    )
    """Assignments such as ``space.depth.high=8`` that override its fields."""

    @field_validator("overrides")
    @classmethod
    def _limit_total_length(cls, overrides: list[str]) -> list[str]:
        if sum(map(len, overrides)) > LONGEST_OVERRIDES:
            raise ValueError(
                f"at most {LONGEST_OVERRIDES:,} characters together; send a whole search file"
            )
        return overrides


class PredictionRequest(BaseModel):
    """The configuration to predict."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "values": {
                        "depth": 2,
                        "width": 128,
                        "budget": 800,
                        "quantisation": "rtn-4",
                        "sparsity": 0,
                    }
                }
            ]
        },
    )

    values: dict[Text, Annotated[float, Field(allow_inf_nan=False)] | Text] = Field(max_length=64)
    """A value for each dimension of the search space that has several values."""


def router(queries: StudyQueries, settings: Settings) -> APIRouter:
    """The routes that change something, and the prediction."""
    routes = APIRouter(
        tags=["searches"], responses=responses(400, 401, 403, 408, 413, 422, 429, 503)
    )

    @routes.post(
        "/searches",
        summary="Start a search",
        status_code=202,
        responses=responses(409),
    )
    def submit(submission: Submission) -> Started:
        search = submitted_search(submission.search, submission.overrides, settings)
        return Started(name=search.name, job=settings.launcher.start(search))

    @routes.post(
        "/searches/{name}/stop",
        summary="Stop a search; finished trials are kept",
        status_code=204,
        responses=responses(404, 409),
    )
    def stop(name: Name) -> None:
        settings.launcher.stop(name)

    @routes.post(
        "/searches/{name}/resume",
        summary="Resume a search",
        status_code=202,
        responses=responses(404, 409),
    )
    def resume(name: Name) -> Started:
        search = Study.load(name, settings.study_url).search
        return Started(name=name, job=settings.launcher.start(search))

    @routes.post(
        "/searches/{name}/what-if",
        summary="Predict the score of a configuration, without training it",
        responses=responses(404),
    )
    def what_if(name: Name, request: Annotated[PredictionRequest, Body()]) -> Prediction:
        return queries.what_if(name, request.values)

    return routes
