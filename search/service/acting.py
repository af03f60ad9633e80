"""Starting, stopping and resuming searches, and the question that carries a body."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, field_validator

from search.results.queries import StudyQueries
from search.results.schemas import Prediction, Started
from search.service.problems import responses
from search.service.reading import Name
from search.service.settings import Settings
from search.service.submission import received
from search.storage.study import Study

LONGEST_TEXT = 1000
LONGEST_OVERRIDES = 5000
"""Characters of all overrides together, each of which is read as YAML."""


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
    """The name of a ready-made search, or a whole search file (``tlc schema`` describes it)."""
    overrides: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field(
        default=[], max_length=200
    )
    """Texts such as ``space.depth.high=8``, which override fields of it."""

    @field_validator("overrides")
    @classmethod
    def _few_words(cls, overrides: list[str]) -> list[str]:
        if sum(map(len, overrides)) > LONGEST_OVERRIDES:
            raise ValueError(
                f"at most {LONGEST_OVERRIDES:,} characters together; send a whole search file"
            )
        return overrides


class Question(BaseModel):
    """A configuration that is asked about."""

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
    """A value of the search's space for each dimension that has several."""


def router(queries: StudyQueries, settings: Settings) -> APIRouter:
    """Addresses that do something."""
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
        search = received(submission.search, submission.overrides, settings)
        return Started(name=search.name, job=settings.launcher.start(search))

    @routes.post(
        "/searches/{name}/stop",
        summary="Stop a search; what is finished is kept",
        status_code=204,
        responses=responses(404, 409),
    )
    def stop(name: Name) -> None:
        settings.launcher.stop(name)

    @routes.post(
        "/searches/{name}/resume",
        summary="Go on with a search",
        status_code=202,
        responses=responses(404, 409),
    )
    def resume(name: Name) -> Started:
        search = Study.load(name, settings.study_url).search
        return Started(name=name, job=settings.launcher.start(search))

    @routes.post(
        "/searches/{name}/what-if",
        summary="The expected score of a configuration that nobody needs to have trained",
        responses=responses(404),
    )
    def what_if(name: Name, question: Annotated[Question, Body()]) -> Prediction:
        return queries.what_if(name, question.values)

    return routes
