"""Reading a search file: YAML, overrides, validation, and errors that say how to mend it."""

from __future__ import annotations

import copy
import difflib
import re
import reprlib
from collections.abc import Hashable, Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.grid.validation import space_faults

LARGEST_FILE = 100_000
"""Bytes; a search file is a thousand, and YAML takes a second for this many."""
MOST_FAULTS = 20
"""Faults that are told of one file: who wrote them by the thousand wants no list."""
LONGEST_SHOWN = 120


class SearchFileError(UserError):
    """A search file that cannot be run, with every fault that was found in it."""

    def __init__(self, origin: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(f"{origin}: {fault}" for fault in faults))


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers, no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | None):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: a key must be a text")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1, which PyYAML reads, takes 2e11 for a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


class _ValueLoader(_Loader):
    """A single value has nothing to refer to, and references can grow without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are for whole files")
        return super().compose_node(parent, index)


def ready_made() -> list[str]:
    """Names of the search files that come with tlc."""
    folder = resources.files("spaces.file.ready")
    return sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )


def read_text(file: str) -> str:
    """Text of a search file, given by its path or by the name of a ready-made one.

    Raises:
        SearchFileError: There is no such file, it cannot be read, or it is too large to be one.
    """
    if file in ready_made():
        return (resources.files("spaces.file.ready") / f"{file}.yaml").read_text(encoding="utf-8")
    path = Path(file)
    try:
        # A device or a pipe has no size, and may have no end.
        with path.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise SearchFileError(file, [f"larger than {LARGEST_FILE:,} bytes"])
        return content.decode("utf-8")
    except FileNotFoundError as error:
        names = ", ".join(ready_made())
        raise SearchFileError(file, [f"no such file; ready-made searches are: {names}"]) from error
    except (OSError, ValueError) as error:
        raise SearchFileError(file, [f"cannot be read: {error}"]) from error


def load(file: str, overrides: Iterable[str] = ()) -> SearchFile:
    """Read, override and validate a search file.

    Args:
        file: Path of a YAML file, or the name of a ready-made one.
        overrides: Texts like ``space.depth.high=8``; the value is read as YAML.

    Raises:
        SearchFileError: Anything about it is wrong; every fault has the path of its field.
    """
    try:
        document = yaml.load(read_text(file), Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SearchFileError(
            file, [f"is not valid YAML: {' '.join(str(error).split())}"]
        ) from None
    if not isinstance(document, dict):
        raise SearchFileError(file, ["must hold keys and values, starting with name:"])
    return from_document(document, overrides, origin=file)


def from_document(
    document: dict[str, Any], overrides: Iterable[str] = (), *, origin: str = "search"
) -> SearchFile:
    """Override and validate the values of a search file.

    Raises:
        SearchFileError: Anything about it is wrong; every fault has the path of its field.
    """
    try:
        changed = copy.deepcopy(document)
    except RecursionError:
        raise SearchFileError(origin, ["is nested too deeply"]) from None
    for override in overrides:
        _override(changed, override)
    return validate(changed, origin=origin)


def validate(document: dict[str, Any], *, origin: str = "search") -> SearchFile:
    """Check the values of a search file, and that they can work together.

    Raises:
        SearchFileError: With every fault that was found.
    """
    try:
        search = SearchFile.model_validate(document)
    except ValidationError as error:
        raise SearchFileError(origin, _faults(error, document)) from None
    except RecursionError:
        raise SearchFileError(origin, ["holds itself"]) from None
    faults = [*search.data.faults(), *space_faults(SearchSpace(search))]
    if faults:
        raise SearchFileError(origin, faults)
    return search


def parse_values(texts: Iterable[str]) -> dict[str, Any]:
    """Values like ``depth=2``, each read as YAML.

    Raises:
        SearchFileError: A text is not of that form.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SearchFileError(text, ["must look like depth=2"])
        values[name] = _parsed(name, value, origin=text)
    return values


def _parsed(path: str, text: str, *, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_ValueLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SearchFileError(origin, [f"{path}: {_shown(text)} is not a YAML value"]) from None


def _override(document: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise SearchFileError("--set", [f"{_shown(override)} must look like space.depth.high=8"])
    value = _parsed(path, text, origin="--set")
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(document.setdefault(key, {}), dict):
            parent = ".".join(keys[: depth + 1])
            raise SearchFileError(
                "--set", [f"{parent} is {_shown(document[key])}, which has no {path}"]
            )
        document = document[key]
    document[keys[-1]] = value


def _faults(error: ValidationError, document: Any) -> list[str]:
    faults = [_fault(item, document) for item in error.errors()[:MOST_FAULTS]]
    left = error.error_count() - len(faults)
    return [*faults, f"and {left:,} more faults"] if left else faults


def _shown(value: Any) -> str:
    try:
        text = reprlib.repr(value) if isinstance(value, dict | list) else repr(value)
    except ValueError:
        # Python writes no integer of more than 4,300 digits.
        return "a number that is too long to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _fault(item: ErrorDetails, document: Any) -> str:
    """One line for one error of pydantic: path, what was given, what is allowed."""
    path, siblings = _path(item["loc"], document)
    given = item.get("input")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{path}: is missing"
    if item["type"] == "extra_forbidden":
        return f"{path}: is not a known key{_suggestion(item['loc'][-1], siblings)}"
    if item["type"] == "union_tag_not_found":
        tag = str(item["ctx"]["discriminator"]).strip("'")
        return f"{path}.{tag}: is missing; allowed: {', '.join(_allowed_tags(path, tag))}"
    if isinstance(given, dict | list) or item["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path}: {_lower_first(message)}, but is {_shown(given)}"


def _path(location: tuple[int | str, ...], document: Any) -> tuple[str, list[str]]:
    """Dotted path as the person wrote it, without the union tags that pydantic adds."""
    keys: list[str] = []
    here = document
    for position, key in enumerate(location):
        if _has(here, key):
            here = here[key]
        elif position < len(location) - 1 or not isinstance(here, dict):
            continue
        keys.append(str(key))
    return ".".join(keys), _allowed_keys(keys[:-1])


def _has(here: Any, key: int | str) -> bool:
    if isinstance(here, list):
        return isinstance(key, int) and key < len(here)
    return isinstance(here, dict) and key in here


def _allowed_keys(path: list[str]) -> list[str]:
    """Keys that the schema allows at a path; of all sources where it is one of several."""
    return sorted({name for node in _nodes(path) for name in node.get("properties", {})})


def _allowed_tags(path: str, tag: str) -> list[str]:
    """Values of the field that tells the kinds at a path apart."""
    return [
        str(node["properties"][tag]["const"])
        for node in _nodes(path.split("."))
        if tag in node.get("properties", {})
    ]


def _nodes(path: list[str]) -> list[dict[str, Any]]:
    """What the schema says of a path: several nodes where it may be of several kinds."""
    schema = _schema()
    nodes = [schema]
    for key in path:
        nodes = [
            resolved
            for node in nodes
            if key in node.get("properties", {})
            for resolved in _resolve(node["properties"][key], schema)
        ]
    return nodes


@cache
def _schema() -> dict[str, Any]:
    return SearchFile.model_json_schema()


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _resolve(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    options = node.get("anyOf") or node.get("oneOf")
    if options:
        return [resolved for option in options for resolved in _resolve(option, schema)]
    return [node]


def _suggestion(key: object, allowed: list[str]) -> str:
    close = difflib.get_close_matches(str(key), allowed, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
