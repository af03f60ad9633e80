"""The base of all query results."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class QueryResult(BaseModel):
    """Base of all query results."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)
