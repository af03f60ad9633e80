"""Tables of rows: files of this machine, and data sets of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError, Place
from objectives.data.files.columnar import of_dataset, read_columnar
from objectives.data.files.delimited import read_delimited
from objectives.data.files.dialects import Dialect, likely_dialect
from objectives.data.files.encodings import lines_of
from objectives.data.files.finding import find_files
from objectives.data.files.notices import Notice
from objectives.data.files.opening import format_of
from objectives.data.files.records import read_records
from objectives.data.files.table import Table, joined
from spaces.file.inputs.tables import HubDataset, Tables


def read_table(
    source: Tables | HubDataset, split: str, field: str, cache: Path, notice: Notice
) -> Table:
    """A split of local files or of a data set of the Hub, as a table.

    Args:
        field: Path of the source in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
        notice: Called with what is skipped.

    Raises:
        DataError: It is missing, has no rows, or is not what the search file says.
    """
    at, given = Place(field, split), source.inputs(split)
    origin = ", ".join(given)
    if isinstance(source, HubDataset):
        table = of_dataset(load_hub(source, split, field, cache), origin)
    else:
        files = [path for each in given for path in find_files(each, at, cache)]
        table = joined([_read_file(path, source, at, notice) for path in files], origin)
    if table.rows == 0:
        raise at.fault(f"{table.origin} holds no rows")
    return table


def _read_file(path: Path, source: Tables, at: Place, notice: Notice) -> Table:
    form = format_of(path, source.format, at.source)
    for name in source.unread(form):
        raise at.fault(f"is no field of {form} files, such as {path}", name)
    if form in ("parquet", "arrow"):
        return read_columnar(path, form, at)
    if form == "text":
        return _lines(path, source.encoding, at)
    if form == "jsonl":
        return read_records(path, source, at)
    return read_delimited(path, source, form, at, notice)


def _lines(path: Path, encoding: str | None, at: Place) -> Table:
    def read(_: int) -> Iterator[str]:
        return lines_of(path, encoding, at)

    first, hint = "\n".join(islice(read(0), 100)), ""
    if found := likely_dialect(first, Dialect("\t", "none")):
        form = "tsv" if found.delimiter == "\t" else "csv"
        hint = f"; if its lines hold several fields, give {at.source}.format: {form}"
    count = sum(1 for _ in read(0))
    return Table(str(path), ["text"], count, read, range(1, count + 1), hint=hint)


def load_hub(source: HubDataset, split: str, field: str, cache: Path) -> Any:
    """A split of a data set of the Hugging Face Hub.

    Args:
        field: Path of the source in the search file, for messages.
        cache: Folder for what is downloaded.
    """
    import datasets

    name = getattr(source, split)
    for fault in source.faults():
        raise DataError(f"{field}.{fault}")
    # A bare name would be looked for among the folders of this machine first.
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            f"hf://datasets/{source.dataset}", cache_dir=str(cache),
            name=source.config, split=name, revision=source.revision,
        )  # fmt: skip
    except Exception as error:
        # datasets raises dozens of classes, of pyarrow, pandas and the Hub's libraries.
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise DataError(f"{field}.{split}: {name} cannot be read: {reason}") from error


def check_table(table: Any, columns: dict[str, str], field: str, split: str, origin: str) -> None:
    """Refuse a table that has no rows, or lacks a column that a field of the source names."""
    for key, column in columns.items():
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{field}.{key}: no column {column!r} in {origin}; it has: {found}")
    if len(table) == 0:
        raise DataError(f"{field}.{split}: {origin} holds no rows")
