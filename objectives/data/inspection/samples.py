"""The first rows of a table, of whatever format, and the fields of a source that reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.files.columnar import features_of
from objectives.data.files.opening import COMPRESSED
from objectives.data.inspection.dialects import SAMPLE_ROWS, read_head, table_dialect

JSON_LINES = (".jsonl", ".json", ".ndjson", ".jsonlines")
DELIMITED = (".csv", ".tsv", ".txt", ".tab")
NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


@dataclass(frozen=True)
class Sample:
    """Cells of the first rows.

    Args:
        columns: Of each column.
        class_names: The names of numbered classes, by the column that has them.
        options: Fields of the source, such as ``columns``.
        notes: How the file is written, as sentences.
    """

    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sample_of(path: Path) -> Sample | None:
    """The first rows of a file; None where it is no table.

    Raises:
        DataError: It cannot be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED]
    last = suffixes[-1] if suffixes else ""
    if last == ".parquet":
        return _of_parquet(path)
    text, encoding = read_head(path)
    options: dict[str, Any] = {}
    notes: list[str] = []
    if encoding not in ("utf-8", "utf-8-sig"):
        options["encoding"] = encoding
        notes.append(f"the file is no UTF-8; it is read as {encoding}")
    if last in JSON_LINES or text.lstrip()[:1] in ("{", "["):
        rows = _json_rows(text, path)
        if last not in JSON_LINES:
            options["format"] = "jsonl"
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        return Sample(columns, {}, options, tuple(notes))
    dialect = table_dialect(text, suffixes)
    if dialect is None and last in (".csv", ".tsv"):
        raise DataError(
            f"{path}: its lines have different numbers of cells, whether commas, tabs, semicolons "
            "or bars separate them"
        )
    if dialect is None:
        return None
    usual = "\t" if last == ".tsv" else ","
    if last not in (".csv", ".tsv"):
        options["format"] = "tsv" if dialect.delimiter == "\t" else "csv"
        usual = "\t" if dialect.delimiter == "\t" else ","
    if dialect.delimiter != usual:
        options["delimiter"] = dialect.delimiter
    options |= dialect.options
    notes += [f"it is read with {name}: {value!r}" for name, value in dialect.options.items()]
    notes.append(f"{NAMES[dialect.delimiter]} separate its columns")
    if not dialect.has_header:
        options["columns"] = list(dialect.names)
        notes.append("its first line is a row, and names no columns")
    columns = {
        name: [row[index] for row in dialect.rows] for index, name in enumerate(dialect.names)
    }
    return Sample(columns, {}, options, tuple(notes))


def _json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    rows: list[Any] = []
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path} is no JSON that can be read: {error}") from error
    for number, line in enumerate(text.split("\n") if not rows else (), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"line {number:,} of {path} is no JSON: {error}") from error
        if len(rows) >= SAMPLE_ROWS:
            break
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path} holds no records; a row is an object such as {{"text": …}}')
    return rows[:SAMPLE_ROWS]


def _of_parquet(path: Path) -> Sample:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        batch = next(file.iter_batches(batch_size=SAMPLE_ROWS), None)
        metadata = file.schema_arrow.metadata or {}
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if batch is None or batch.num_rows == 0:
        raise DataError(f"{path} holds no rows")
    return Sample(batch.to_pydict(), class_names_of(features_of(metadata)))


def class_names_of(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of numbered classes by column, of features as ``datasets`` writes them."""
    found: dict[str, list[str]] = {}
    for name, feature in features.items():
        inner = feature
        while isinstance(inner, dict) and "names" not in inner and "feature" in inner:
            inner = inner["feature"]
        if isinstance(inner, list) and inner:
            inner = inner[0]
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list):
            found[name] = names
    return found
