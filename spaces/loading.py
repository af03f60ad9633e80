"""Reading a search file: YAML, overrides, and validation that names every fault."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spaces.errors import UserError
from spaces.file.model import Model
from spaces.file.own_task import OpenedTask
from spaces.file.search_file import SearchFile
from spaces.file.sources import Data
from spaces.file.validation_errors import shown, validation_faults
from spaces.grid.search_space import SearchSpace
from spaces.grid.validation import space_faults

SearchLike = str | os.PathLike[str] | Mapping[str, Any] | SearchFile
"""A search as people have it: the path of a file, the name of a ready-made one, or values."""
Overrides = Mapping[str, Any] | Iterable[str]
"""Values by the path of their field, such as ``space.depth.high``; or texts for ``load``."""

MAX_FILE_BYTES = 100_000
"""A search file has a thousand; YAML takes a second to parse this many."""


class SearchFileError(UserError):
    """A search file that cannot be run, with every fault that was found in it."""

    def __init__(self, origin: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(f"{origin}: {fault}" for fault in faults))


class _Loader(yaml.SafeLoader):
    """Reads numbers as YAML 1.2 does, and refuses duplicate keys.

    ruamel.yaml does both, but expands nested merge keys exponentially, accepts lists as keys, and
    takes three times as long to refuse deep nesting.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | None):
                raise yaml.YAMLError(f"line {line}: a key must be a text")
            if key in keys:
                raise yaml.YAMLError(f"line {line}: duplicate key {key!r}")
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1, which PyYAML reads, takes 2e11 for a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


class _ValueLoader(_Loader):
    """Reads a single value, in which no alias is needed: aliases can expand exponentially."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a value must not contain aliases")
        return super().compose_node(parent, index)


@cache
def json_schema() -> dict[str, Any]:
    """The JSON schema of search files."""
    return SearchFile.model_json_schema()


def ready_made() -> list[str]:
    """Names of the search files that come with tlc."""
    files = resources.files("spaces.file.ready").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _read(file: str) -> str:
    if file in ready_made():
        return (resources.files("spaces.file.ready") / f"{file}.yaml").read_text(encoding="utf-8")
    try:
        # The size of a device or a pipe is not known before it is read.
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SearchFileError(file, [f"larger than {MAX_FILE_BYTES:,} bytes"])
        return content.decode("utf-8")
    except FileNotFoundError as error:
        names = ", ".join(ready_made())
        raise SearchFileError(file, [f"no such file; ready-made searches are: {names}"]) from error
    except (OSError, ValueError) as error:
        raise SearchFileError(file, [f"cannot be read: {error}"]) from error


def load(file: str, overrides: Overrides = ()) -> SearchFile:
    """Read, override and validate a search file.

    Args:
        file: Path of a YAML file, or the name of a ready-made one.
        overrides: Texts like ``space.depth.high=8``, whose value is read as YAML; or values by
            such paths.

    Raises:
        SearchFileError: With every fault that was found, and the path of its field.
    """
    try:
        document = yaml.load(_read(file), Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SearchFileError(
            file, [f"is not valid YAML: {' '.join(str(error).split())}"]
        ) from None
    if not isinstance(document, dict):
        raise SearchFileError(file, ["must hold keys and values, starting with name:"])
    return from_document(document, overrides, origin=file)


def read_search(
    search: SearchLike, overrides: Overrides = (), *, address: str | None = None
) -> SearchFile:
    """Read, override and validate a search in any form.

    Args:
        address: Of a running Ray cluster; by default the one that it names.

    Raises:
        SearchFileError: With every fault that was found, and the path of its field.
    """
    changes = dict(_changes(overrides)) | ({} if address is None else {"address": address})
    if isinstance(search, SearchFile):
        return from_document(search.to_dict(), changes)
    if isinstance(search, Mapping):
        return from_document(dict(search), changes)
    if not isinstance(search, str | os.PathLike):
        raise SearchFileError(
            "search", [f"{shown(search)} is no search; allowed: a path, a name, or a mapping"]
        )
    return load(os.fspath(search), changes)


def from_document(
    document: dict[str, Any], overrides: Overrides = (), *, origin: str = "search"
) -> SearchFile:
    """Override and validate the values of a search file, as ``load`` does."""
    try:
        changed = copy.deepcopy(document)
    except RecursionError:
        raise SearchFileError(origin, ["is nested too deeply"]) from None
    for path, value in _changes(overrides):
        _override(changed, path, value)
    return validate(changed, origin=origin)


def validate(document: dict[str, Any], *, origin: str = "search") -> SearchFile:
    """Validate the values of a search file, alone and together.

    Raises:
        SearchFileError: With every fault that was found, and the path of its field.
    """
    try:
        search = SearchFile.model_validate(document)
    except ValidationError as error:
        raise SearchFileError(origin, validation_faults(error, document, json_schema())) from None
    except RecursionError:
        raise SearchFileError(origin, ["contains itself"]) from None
    if not is_opened(search):
        # Its layers are known when the checkpoint or the user's task is opened; ``with_model`` and
        # ``with_task`` validate them then.
        return search
    if faults := space_faults(SearchSpace(search)):
        raise SearchFileError(origin, faults)
    return search


def is_opened(search: SearchFile) -> bool:
    """Whether all that arithmetic needs is known of its task and its checkpoints."""
    return search.task.is_opened and (search.model is None or search.model.is_opened)


def with_data(search: SearchFile, data: Data) -> SearchFile:
    """A search with other data; ``SearchFileError`` where it contradicts the rest."""
    return validate(search.model_copy(update={"data": data}).to_dict(), origin=search.name)


def with_task(search: SearchFile, opened: OpenedTask) -> SearchFile:
    """A search with what was found in its own task; ``SearchFileError`` where the rest does not
    suit it."""
    document = search.to_dict()
    document["task"]["opened"] = opened.model_dump(mode="json")
    return validate(document, origin=search.name)


def with_facts(search: SearchFile, **facts: float) -> SearchFile:
    """A search whose task knows what its data says (``spaces.file.tasks.FROM_DATA``)."""
    document = search.to_dict()
    document["task"] |= facts
    return validate(document, origin=search.name)


def with_model(search: SearchFile, model: Model, data: Data) -> SearchFile:
    """A search from checkpoints that were opened, with data of the sizes that they read;
    ``SearchFileError`` where the space asks for more than they have."""
    changed = search.model_copy(update={"model": model, "data": data})
    return validate(changed.to_dict(), origin=search.name)


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
        raise SearchFileError(origin, [f"{path}: {shown(text)} is not a YAML value"]) from None


def _changes(overrides: Overrides) -> Iterator[tuple[str, Any]]:
    """The path of each field that is overridden, and its value."""
    given = [overrides] if isinstance(overrides, str) else overrides
    for override in given if isinstance(given, Iterable) else [given]:
        if not isinstance(override, str):
            raise SearchFileError(
                "--set", [f"{shown(override)} must be a text such as space.depth.high=8"]
            )
        if isinstance(given, Mapping):
            yield override, given[override]
            continue
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise SearchFileError("--set", [f"{shown(override)} must look like space.depth.high=8"])
        yield path, _parsed(path, text, origin="--set")


def _override(document: dict[str, Any], path: str, value: Any) -> None:
    keys = path.strip().split(".")
    if not all(keys):
        raise SearchFileError("--set", [f"{shown(path)} must look like space.depth.high"])
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(document.setdefault(key, {}), dict):
            parent = ".".join(keys[: depth + 1])
            raise SearchFileError(
                "--set", [f"{parent} is {shown(document[key])}, which has no {path}"]
            )
        document = document[key]
    document[keys[-1]] = value
