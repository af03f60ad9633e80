"""Parquet and Arrow files, and what ``datasets`` saved: tables by columns.

Classes that are stored as numbers get their names, which ``datasets`` writes beside them
(``ClassLabel``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from objectives.data.errors import Place
from objectives.data.files.table import Table

ROWS_AT_A_TIME = 1000
"""That are in memory."""
_LISTS = ("Sequence", "List", "LargeList")
Named = Callable[[Any], Any]
"""From a cell with numbers of classes to one with their names."""


def read_columnar(path: Path, form: str, at: Place) -> Table:
    """A parquet or Arrow file, or a folder of ``save_to_disk``, as a table.

    Raises:
        DataError: It cannot be read.
    """
    with _readable(path, at):
        if path.is_dir():
            table = _saved(path, at)
        else:
            table = _parquet(path) if form == "parquet" else _arrow(path)

    def read(index: int) -> Iterator[Any]:
        with _readable(path, at):
            yield from table.read(index)

    return replace(table, read=read)


@contextmanager
def _readable(path: Path, at: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        # pyarrow's errors are of these classes.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise at.fault(f"{path} cannot be read: {reason}") from error


def of_dataset(dataset: Any, origin: str) -> Table:
    """A ``datasets.Dataset`` as a table."""
    features = dataset.features.to_dict()
    names = list(dataset.column_names)

    def read(index: int) -> Iterator[Any]:
        column = dataset[names[index]]
        rows = range(0, len(dataset), ROWS_AT_A_TIME)
        cells = chain.from_iterable(column[first : first + ROWS_AT_A_TIME] for first in rows)
        return _with_names(cells, features.get(names[index]))

    return Table(origin, names, len(dataset), read)


def _saved(path: Path, at: Place) -> Table:
    import datasets

    found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        raise at.fault(
            f"{path} holds the splits {', '.join(found)}; name one: {path / next(iter(found))}"
        )
    return of_dataset(found, str(path))


def _parquet(path: Path) -> Table:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    schema = file.schema_arrow
    # A name with a dot in it would be taken for a path into records.
    is_plain = len({*schema.names}) == len(schema.names) and "." not in "".join(schema.names)

    def column(index: int) -> Iterator[Any]:
        names = [schema.names[index]] if is_plain else None
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=names):
            yield batch.column(0 if is_plain else index)

    return _of_schema(path, schema, file.metadata.num_rows, column)


def _arrow(path: Path) -> Table:
    from pyarrow import ipc, memory_map

    with memory_map(str(path)) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        table = (ipc.open_file if is_file else ipc.open_stream)(file).read_all()

    def column(index: int) -> Iterator[Any]:
        for first in range(0, table.num_rows, ROWS_AT_A_TIME):
            yield table.column(index).slice(first, ROWS_AT_A_TIME)

    return _of_schema(path, table.schema, table.num_rows, column)


def _of_schema(path: Path, schema: Any, rows: int, column: Callable[[int], Iterator[Any]]) -> Table:
    """A table of columns that pyarrow reads, some rows at a time."""
    features = features_of(schema.metadata or {})
    names = list(schema.names)

    def read(index: int) -> Iterator[Any]:
        cells = chain.from_iterable(some.to_pylist() for some in column(index))
        return _with_names(cells, features.get(names[index]))

    return Table(str(path), names, rows, read)


def features_of(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """What ``datasets`` says of the columns of a file that it wrote."""
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _with_names(cells: Iterator[Any], feature: Any) -> Iterator[Any]:
    named = _named(feature)
    return cells if named is None else map(named, cells)


def _named(feature: Any) -> Named | None:
    """What names the classes in the cells of a feature; None where it has none.

    Args:
        feature: As ``datasets.Features.to_dict`` describes it.
    """
    if isinstance(feature, list):
        return _each(_named(feature[0])) if len(feature) == 1 else None
    if not isinstance(feature, dict):
        return None
    kind = feature.get("_type")
    if kind == "ClassLabel":
        names = feature.get("names")
        return _name_of(names) if names else None
    if kind in _LISTS:
        return _each(_named(feature.get("feature")))
    inner = {key: each for key, value in feature.items() if (each := _named(value)) is not None}
    return _fields(inner) if inner and not isinstance(kind, str) else None


def _name_of(names: list[str]) -> Named:
    def name(cell: Any) -> Any:
        if not isinstance(cell, int):
            return cell
        # datasets writes -1 where the label of an example is not public.
        return names[cell] if 0 <= cell < len(names) else None

    return name


def _each(inner: Named | None) -> Named | None:
    if inner is None:
        return None
    return lambda cell: list(map(inner, cell)) if isinstance(cell, list) else cell


def _fields(inner: Mapping[str, Named]) -> Named:
    def named(cell: Any) -> Any:
        if not isinstance(cell, dict):
            return cell
        return {key: inner[key](value) if key in inner else value for key, value in cell.items()}

    return named
