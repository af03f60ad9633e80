"""Refuses what an operation does not document: unknown and repeated parameters, and bodies.

FastAPI ignores them, so that a mistyped limit would return a model that breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError


async def refuse_unknown_inputs(request: Request) -> None:
    """Refuse a request with a parameter or a body that its operation does not document.

    A dependency of every operation. Bodies with unknown fields are refused by their models.

    Raises:
        RequestValidationError: Names each such input, and what is allowed.
    """
    operation = _operation(request)
    faults = list(_faults_of_query(request, operation))
    if "requestBody" not in operation and await request.body():
        faults.append(_fault("body", "body", "this operation takes none; leave it out"))
    if faults:
        raise RequestValidationError(faults)


def _operation(request: Request) -> dict[str, Any]:
    """The OpenAPI description of the operation of a request; empty for the documentation."""
    # FastAPI computes it once.
    paths = request.app.openapi()["paths"]
    operations: dict[str, dict[str, Any]] = paths.get(request.scope["route"].path, {})
    return operations.get(request.method.lower(), {})


def _faults_of_query(request: Request, operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    known = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    allowed = f"allowed: {', '.join(known)}" if known else "this operation takes none"
    for name in dict.fromkeys(request.query_params):
        values = request.query_params.getlist(name)
        if name not in known:
            yield _fault("query", name, f"is no parameter of this operation; {allowed}")
        elif len(values) > 1:
            yield _fault("query", name, f"is given {len(values)} times; give it once")


def _fault(place: str, name: str, message: str) -> dict[str, Any]:
    return {"type": "extra_forbidden", "loc": (place, name), "msg": message, "input": None}
