"""JSON: a record a line, or a list of records.

Python's ``json`` and not the reader of ``datasets``, which takes texts that look like dates for
dates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.data.errors import Place
from objectives.data.files.table import Table

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Tables

Record = dict[str, Any]


def read_records(path: Path, text: str, source: Tables, at: Place) -> Table:
    """A file of JSON, whose text was read, as a table; a key that a record lacks is none.

    Raises:
        DataError: It is no JSON, or none of records.
    """
    records, lines = _records(text, path, source, at)
    names = list(dict.fromkeys(key for record in records for key in record))

    def read(index: int) -> list[Any]:
        return [record.get(names[index]) for record in records]

    return Table(str(path), names, len(records), read, lines)


def _records(text: str, path: Path, source: Tables, at: Place) -> tuple[list[Record], list[int]]:
    """The records of a text, and the line of each where each has its own."""
    start = text.lstrip()[:1]
    if source.records is None and start != "[":
        records, lines = [], []
        for number, record in _of_lines(text, path, at):
            records.append(record)
            lines.append(number)
        return records, lines
    whole = _parsed(text, f"{path}", at)
    if source.records is not None:
        if not isinstance(whole, dict) or source.records not in whole:
            has = ", ".join(whole) if isinstance(whole, dict) else _kind(whole)
            raise at.fault(f"no key {source.records!r} in {path}; it has: {has}", "records")
        whole = whole[source.records]
    if not isinstance(whole, list):
        raise at.fault(f"{path} has {_kind(whole)}; a list of records is needed", "records")
    for row, record in enumerate(whole, start=1):
        _check_record(record, f"row {row:,} of {path}", at)
    return whole, []


def _of_lines(text: str, path: Path, at: Place) -> Iterator[tuple[int, Record]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        place = f"line {number:,} of {path}"
        record = _parsed(line, place, at, None if number > lines[0][0] else text)
        _check_record(record, place, at)
        lists = [key for key, value in record.items() if _is_table(value)]
        if len(lines) == 1 and lists:
            raise at.fault(
                f"{path} is one record, with {', '.join(map(repr, lists))}; if one of its keys "
                f"holds the list of rows, give it as {at.source}.records"
            )
        if len(lines) == 1 and len(record) > 1 and _are_columns(list(record.values())):
            raise at.fault(
                f"{path} has a record for each column, as pandas writes it by default; write a "
                "record for each row: orient='records'"
            )
        yield number, record


def _parsed(text: str, place: str, at: Place, whole: str | None = None) -> Any:
    """JSON as Python's values.

    Args:
        whole: The text of the file, in whose first line this stands.
    """
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _record(pairs, place, at))
    except json.JSONDecodeError as error:
        if whole is not None and _is_json(whole):
            raise at.fault(
                f"{place} begins one record of several lines; allowed are a record a line, a list "
                f"of records, or the key of one: {at.source}.records"
            ) from error
        raise at.fault(f"{place} is no JSON: {error}") from error
    except RecursionError as error:
        raise at.fault(f"{place} is nested too deeply") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _record(pairs: list[tuple[str, Any]], place: str, at: Place) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise at.fault(f"{place} has the key {twice!r} twice")
    return record


def _check_record(value: Any, place: str, at: Place) -> None:
    if not isinstance(value, dict):
        raise at.fault(f"{place} has {_kind(value)}; a record is needed")


def _are_columns(values: list[Any]) -> bool:
    return all(isinstance(each, dict) and each.keys() == values[0].keys() for each in values)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _kind(value: Any) -> str:
    kinds = {list: "a list", dict: "a record", str: "a text", type(None): "null"}
    return kinds.get(type(value), f"{value!r:.60}")
