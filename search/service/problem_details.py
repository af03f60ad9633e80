"""Errors as problem details (RFC 9457) that name the invalid fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from search.storage.errors import BusyStudy, NoSuchStudy, Overloaded, StudyUnavailable
from spaces.errors import UserError
from spaces.loading import SearchFileError

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 20
"""Largest number of faults in a response."""
RETRY_SECONDS = "5"
"""After which a client may try again what was unavailable."""

TITLES = {
    400: "Malformed request",
    401: "Bearer token required",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Body too large",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


class Fault(BaseModel):
    """One invalid field."""

    field: str
    """Path of the field in the request."""
    detail: str
    """The given value and the allowed values."""


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """Kind of problem; ``about:blank`` means that the status describes it."""
    title: str
    """Name of the status."""
    status: int
    """HTTP status."""
    detail: str
    """What is wrong, and how to fix it."""
    errors: list[Fault] = []
    """The invalid fields."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problems that an operation may return."""
    return {
        status: {
            "description": TITLES[status],
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem(
    status: int,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A response with problem details."""
    content = Problem(
        title=TITLES.get(status, "Error"),
        status=status,
        detail=_encodable(detail),
        errors=list(faults),
    )
    return JSONResponse(
        content.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def _encodable(text: str) -> str:
    """Text without lone surrogates, which JSON can express and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def install(app: FastAPI) -> None:
    """Make an application return every error as problem details."""

    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> JSONResponse:
        said = error.faults if isinstance(error, SearchFileError) else str(error).splitlines()
        lines = [_encodable(line) for line in said]
        status = _status(error)
        headers = {"Retry-After": RETRY_SECONDS} if status == 503 else None
        return problem(status, "\n".join(lines), [_fault(line) for line in lines], headers)

    @app.exception_handler(Exception)
    async def internal_error(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "the service failed; its log has the error")

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            Fault(
                field=_encodable(".".join(map(str, each["loc"][1:]))),
                detail=_encodable(str(each["msg"]).removeprefix("Value error, ")),
            )
            for each in error.errors()[:MOST_FAULTS]
        ]
        detail = "; ".join(f"{fault.field}: {fault.detail}" for fault in faults)
        return problem(422, detail, faults)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        detail = {404: f"no such address: {request.url.path}"}.get(error.status_code, error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request.url.path))
        return problem(error.status_code, detail, headers=headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """Methods of all operations of a path; a route knows only its own."""
    return sorted(
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        for method in operations
        if compile_path(template)[0].match(path)
    )


def _status(error: UserError) -> int:
    kinds = {NoSuchStudy: 404, BusyStudy: 409, StudyUnavailable: 503, Overloaded: 503}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), 422)


def _fault(line: str) -> Fault:
    """A fault from a line such as ``space.depth: is missing``."""
    field, colon, detail = line.partition(": ")
    is_field = bool(colon) and " " not in field
    return Fault(field=field if is_field else "", detail=detail if is_field else line)
