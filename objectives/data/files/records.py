"""JSON: a record a line, or a list of records.

Python's ``json`` and not the reader of ``datasets``, which takes texts that look like dates for
dates.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.data.errors import DataError, Place
from objectives.data.files.encodings import lines_of, read_text, text_chunks
from objectives.data.files.table import Table

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Tables

Record = dict[str, Any]


def read_records(path: Path, source: Tables, at: Place) -> Table:
    """A file of JSON as a table; a key that a record lacks is none.

    A record a line is read again for each column, so that no more than one is in memory.

    Raises:
        DataError: It is no JSON, or none of records.
    """
    starts = (chunk.lstrip()[:1] for chunk in text_chunks(path, source.encoding, at))
    if source.records is not None or next(filter(None, starts), "") == "[":
        records = _of_list(path, source, at)
        names = list(dict.fromkeys(chain.from_iterable(records)))
        return Table(
            str(path), names, len(records), lambda index: (r.get(names[index]) for r in records)
        )
    found: dict[str, None] = {}
    lines = array("q")
    for number, record in _of_lines(path, source.encoding, at):
        lines.append(number)
        found |= dict.fromkeys(record)
    names = list(found)

    def read(index: int) -> Iterator[Any]:
        for _, record in _of_lines(path, source.encoding, at):
            yield record.get(names[index])

    return Table(str(path), names, len(lines), read, lines)


def _of_list(path: Path, source: Tables, at: Place) -> list[Record]:
    whole = _parsed(read_text(path, source.encoding, at), f"{path}", at)
    if source.records is not None:
        if not isinstance(whole, dict) or source.records not in whole:
            has = ", ".join(whole) if isinstance(whole, dict) else _kind(whole)
            raise at.fault(f"no key {source.records!r} in {path}; it has: {has}", "records")
        whole = whole[source.records]
    if not isinstance(whole, list):
        raise at.fault(f"{path} has {_kind(whole)}; a list of records is needed", "records")
    for row, record in enumerate(whole, start=1):
        _check_record(record, f"row {row:,} of {path}", at)
    return whole


def _of_lines(path: Path, encoding: str | None, at: Place) -> Iterator[tuple[int, Record]]:
    """The record of each line, and the number of the line."""
    numbered = enumerate(lines_of(path, encoding, at), start=1)
    lines = ((number, line) for number, line in numbered if line.strip())
    first = list(islice(lines, 2))
    for number, line in chain(first, lines):
        place = f"line {number:,} of {path}"
        try:
            record = _parsed(line, place, at)
        except DataError as error:
            is_first = number == first[0][0] and isinstance(error.__cause__, ValueError)
            if is_first and _is_json(read_text(path, encoding, at)):
                raise at.fault(
                    f"{place} begins one record of several lines; allowed are a record a line, a "
                    f"list of records, or the key of one: {at.source}.records"
                ) from error
            raise
        _check_record(record, place, at)
        lists = [key for key, value in record.items() if _is_table(value)]
        if len(first) == 1 and lists:
            raise at.fault(
                f"{path} is one record, with {', '.join(map(repr, lists))}; if one of its keys "
                f"holds the list of rows, give it as {at.source}.records"
            )
        if len(first) == 1 and len(record) > 1 and _are_columns(list(record.values())):
            raise at.fault(
                f"{path} has a record for each column, as pandas writes it by default; write a "
                "record for each row: orient='records'"
            )
        yield number, record


def _parsed(text: str, place: str, at: Place) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _record(pairs, place, at))
    except json.JSONDecodeError as error:
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
