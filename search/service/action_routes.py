"""Routes that start, stop and resume searches, and the prediction, whose request has a body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, field_validator

from objectives.data.files.opening import files_of
from search.results.queries import StudyQueries
from search.results.schemas import Prediction, Started
from search.service.problem_details import responses
from search.service.read_routes import Name
from search.service.settings import Settings
from search.service.slow_calls import SlowCalls
from search.submission.starter import Starter
from spaces.file.own_task import OwnTask
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage
from spaces.loading import SearchFileError, from_document, load, ready_made, validate

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

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    values: dict[Text, Annotated[float, Field(allow_inf_nan=False)] | Text] = Field(
        max_length=64,
        examples=[
            {"depth": 2, "width": 128, "budget": 800, "quantisation": "rtn-4", "sparsity": 0}
        ],
    )
    """A value for each dimension of the search space that has several values."""


def router(
    queries: StudyQueries, starter: Starter, settings: Settings, slow: SlowCalls
) -> APIRouter:
    """The routes that change something, and the prediction: all of them may take long."""
    routes = APIRouter(
        tags=["searches"], responses=responses(400, 401, 403, 408, 413, 422, 429, 503)
    )

    @routes.post(
        "/searches",
        summary="Submit a search, which is then started",
        description=(
            "The response comes when the search is recorded; its `state` is `submitted`, then "
            "`starting`, then `running`, or `failed to start` with the reason in `ended`."
        ),
        status_code=202,
        responses=responses(409),
    )
    async def submit(submission: Submission) -> Started:
        return await slow(_submitted, submission, starter, settings)

    @routes.post(
        "/searches/{name}/stop",
        summary="Stop a search; finished trials are kept",
        status_code=204,
        responses=responses(404, 409),
    )
    async def stop(name: Name) -> None:
        await slow(_stop, name, starter, settings)

    @routes.post(
        "/searches/{name}/resume",
        summary="Resume a search",
        status_code=202,
        responses=responses(404, 409),
    )
    async def resume(name: Name) -> Started:
        return await slow(_submitted_again, name, starter, settings)

    @routes.post(
        "/searches/{name}/what-if",
        summary="Predict the score of a configuration, without training it",
        responses=responses(404),
    )
    async def what_if(name: Name, request: Annotated[PredictionRequest, Body()]) -> Prediction:
        return await slow(queries.what_if, name, request.values)

    return routes


def _submitted(submission: Submission, starter: Starter, settings: Settings) -> Started:
    search = _validated(submission, settings)
    return _recorded(search, starter, settings)


def _submitted_again(name: str, starter: Starter, settings: Settings) -> Started:
    search = validate(starter.search(name), origin=name)
    if faults := list(_faults_of_task(search, settings)):
        raise SearchFileError(name, faults)
    return _recorded(search, starter, settings)


def _recorded(search: SearchFile, starter: Starter, settings: Settings) -> Started:
    settings.launcher.check(search)
    starter.submit(search.name, search.to_dict())
    return Started(name=search.name)


def _stop(name: str, starter: Starter, settings: Settings) -> None:
    if not starter.withdraw(name):
        settings.launcher.stop(name)


def _validated(submission: Submission, settings: Settings) -> SearchFile:
    """Validate a submitted search, and give it the storage of the service.

    Raises:
        SearchFileError: It is invalid, sets a field that the service sets, names data outside the
            allowed folders, or a task that is not allowed.
    """
    search, overrides = submission.search, submission.overrides
    if not isinstance(search, str):
        file = from_document(search, overrides)
    elif search in ready_made():
        file = load(search, overrides)
    else:
        fault = f"search: {search!r} is not a ready-made search; they are {', '.join(ready_made())}"
        raise SearchFileError("request", [fault])
    is_given = {"storage": file.storage != Storage(), "address": file.address is not None}
    faults = [f"{field}: is set by the service; remove it" for field in is_given if is_given[field]]
    faults += [
        f"{field}: {path!r} is not below a data folder of the service (--data-root)"
        for field, path in file.local_paths()
        if not _is_allowed(path, settings.data_roots)
    ]
    faults += list(_faults_of_task(file, settings))
    if faults:
        raise SearchFileError("search", faults)
    return file.model_copy(update={"storage": settings.storage})


def _faults_of_task(search: SearchFile, settings: Settings) -> Iterator[str]:
    """A task of a user runs its code, which only the operator of the service can allow."""
    task = search.task
    if isinstance(task, OwnTask) and task.name not in settings.tasks:
        allowed = ", ".join(settings.tasks) or "tlc's own tasks alone"
        yield f"task.name: {task.name} is not allowed by the service (--task); it allows {allowed}"


def _is_allowed(path: str, roots: Sequence[Path]) -> bool:
    # URLs could make the service fetch what only it can reach (SSRF).
    if "://" in path or "::" in path or "\0" in path:
        return False
    # No folder elsewhere is searched for what a pattern matches.
    return _is_below(Path(path), roots) and all(_is_below(each, roots) for each in files_of(path))


def _is_below(path: Path, roots: Sequence[Path]) -> bool:
    # resolve() follows links, so that no link leads outside, and no pattern that matches one.
    return any(path.resolve().is_relative_to(root.resolve()) for root in roots)
