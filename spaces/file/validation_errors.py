"""The errors of pydantic as lines: the path of a field, its value, and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spaces.file.search_file import InconsistentFields

MAX_FAULTS = 20
"""Faults of one file that are listed."""
MAX_SHOWN = 120
"""Characters of a value that are shown."""


def validation_faults(error: ValidationError, document: Any, schema: dict[str, Any]) -> list[str]:
    """One line for each error of a document that was validated against a schema."""
    faults = [
        line for item in error.errors()[:MAX_FAULTS] for line in _lines(item, document, schema)
    ]
    left = error.error_count() - MAX_FAULTS
    return [*faults, f"and {left:,} more faults"] if left > 0 else faults


def shown(value: Any) -> str:
    """A value that was given, cut to a length that fits in a line."""
    try:
        text = reprlib.repr(value) if isinstance(value, dict | list) else repr(value)
    except ValueError:
        # Python writes no integer of more than 4,300 digits.
        return "a number that is too long to show"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _lines(item: ErrorDetails, document: Any, schema: dict[str, Any]) -> list[str]:
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, InconsistentFields):
        return cause.faults
    return [_line(item, document, schema)]


def _line(item: ErrorDetails, document: Any, schema: dict[str, Any]) -> str:
    path = _path(item["loc"], document)
    if item["type"].startswith("union_tag") and path[-1] in ("tlc", "own"):
        # The tag of a union around this one is no key.
        path.pop()
    field, given = ".".join(path), item.get("input")
    # People write lists, which pydantic calls tuples where they become one.
    message = item["msg"].removeprefix("Value error, ").replace("tuple", "list")
    message = message.replace("Tuple", "List")
    if item["type"] == "missing":
        return f"{field}: is missing"
    if item["type"] == "extra_forbidden":
        allowed = sorted(
            {
                name
                for node in _nodes(item["loc"][:-1], schema)
                for name in node.get("properties", {})
            }
        )
        # What is a key elsewhere is no slip for another one here.
        others = _kinds_with(item["loc"], schema)
        listed = f"{others}; allowed: {', '.join(allowed)}"
        hint = listed if others else _suggestion(path[-1], allowed)
        return f"{field}: is not a known key{hint}"
    if item["type"] == "union_tag_not_found":
        tag = str(item["ctx"]["discriminator"]).strip("'")
        properties = [node.get("properties", {}) for node in _nodes(path, schema)]
        named = [each[tag] for each in properties if "const" in each.get(tag, {})]
        tags = ", ".join(str(each["const"]) for each in named)
        return f"{field}.{tag}: is missing; allowed: {tags}"
    if item["type"] == "union_tag_invalid":
        tag, tags = str(item["ctx"]["discriminator"]), str(item["ctx"]["expected_tags"])
        name = tag.strip("'")
        close = _suggestion(str(item["ctx"]["tag"]), tags.replace("'", "").split(", "))
        own = "; a task of your own is module:Class" if field == "task" else ""
        return f"{field}.{name}: is {item['ctx']['tag']!r}{close}{own}"
    if given is None:
        return f"{field}: has no value; {message[:1].lower()}{message[1:]}"
    if isinstance(given, dict | list) or item["type"] == "value_error":
        return f"{field}: {message}"
    return f"{field}: {message[:1].lower()}{message[1:]}, but is {shown(given)}"


def _path(location: tuple[int | str, ...], document: Any) -> list[str]:
    """Keys as the author wrote them, without the union tags that pydantic adds."""
    keys: list[str] = []
    here = document
    for position, key in enumerate(location):
        inside: Any = here if isinstance(here, dict | list) else {}
        try:
            here = inside[key]
        except (LookupError, TypeError):
            if position < len(location) - 1 or not isinstance(here, dict):
                continue
        keys.append(str(key))
    return keys


def _nodes(path: Sequence[int | str], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the schema at a path: several where a field may be of several kinds, and the
    path has no union tag that says which."""
    nodes = [schema]
    for key in path:
        fields = [node.get("properties", {}) for node in nodes]
        inner = [node for each in fields if key in each for node in _resolve(each[key], schema)]
        nodes = inner or [node for node in nodes if _is_tagged(node, key)] or nodes
    return nodes


def _kinds_with(location: tuple[int | str, ...], schema: dict[str, Any]) -> str:
    """What to say of a field that another kind of a union has; empty where none has it.

    Args:
        location: Of the field, behind the tag of the kind that was given.
    """
    *path, tag, name = ("", *location)
    inside = [node.get("properties", {}) for node in _nodes(path[1:], schema)]
    tags = [
        (key, each["const"], name in properties)
        for properties in inside
        for key, each in properties.items()
        if "const" in each
    ]
    field = next((key for key, kind, _ in tags if kind == tag), None)
    having = [str(kind) for key, kind, has in tags if key == field and has]
    if field is None or not having:
        return ""
    return f" where {field} is {tag}, but where it is {' or '.join(having)}"


def _is_tagged(node: dict[str, Any], tag: int | str) -> bool:
    """Whether a tag of a union is the constant of one of a node's fields."""
    return any(each.get("const") == tag for each in node.get("properties", {}).values())


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _resolve(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    options = node.get("anyOf") or node.get("oneOf")
    return (
        [found for option in options for found in _resolve(option, schema)] if options else [node]
    )


def _suggestion(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""
