"""Tables of rows: files in the formats that ``datasets`` reads, and data sets of the Hub."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from spaces.file.inputs.tables import HubDataset, Tables

_FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "text",
    ".parquet": "parquet",
}  # fmt: skip


def load_split(source: Tables | HubDataset, split: str, field: str, cache: Path) -> Any:
    """A split of local files or of a data set of the Hub, as a table.

    Args:
        field: Path of the source in the search file, for messages.
        cache: Folder for what ``datasets`` downloads or converts.
    """
    if isinstance(source, HubDataset):
        return load_hub(source, split, field, cache)
    name = format_of(source, field)
    file, field = getattr(source, split), f"{field}.{split}"
    if Path(file).stat().st_size == 0:
        raise DataError(f"{field}: {file} holds no rows")
    if name in ("csv", "tsv"):
        # Tab-separated text is written without quoting: a lone " is a character like any other.
        dialect = {"sep": "\t", "quoting": csv.QUOTE_NONE} if name == "tsv" else {}
        return load_csv(file, field, names=source.columns, **dialect)
    builder = {"jsonl": "json"}.get(name, name)
    return load_table(builder, file, field, cache, data_files={"train": file}, split="train")


def format_of(source: Tables, field: str) -> str:
    """The format of local files: ``csv``, ``tsv``, ``jsonl``, ``text`` or ``parquet``."""
    if source.format is not None:
        return source.format
    suffixes = [suffix for suffix in Path(source.train).suffixes if suffix != ".gz"]
    if not suffixes or suffixes[-1] not in _FORMATS:
        allowed = ", ".join(sorted(set(_FORMATS.values())))
        raise DataError(
            f"{field}.format: the ending of {source.train} names no known format; "
            f"give one of {allowed}"
        )
    return _FORMATS[suffixes[-1]]


def load_hub(source: HubDataset, split: str, field: str, cache: Path) -> Any:
    """A split of a data set of the Hugging Face Hub; arguments and errors as ``load_table``."""
    name = getattr(source, split)
    for fault in source.faults():
        raise DataError(f"{field}.{fault}")
    # A bare name would be looked for among the folders of this machine first.
    return load_table(
        f"hf://datasets/{source.dataset}", name, f"{field}.{split}", cache,
        name=source.config, split=name, revision=source.revision,
    )  # fmt: skip


def load_table(builder: str, origin: str, field: str, cache: Path, **options: Any) -> Any:
    """A table that ``datasets.load_dataset`` reads, with ``options``.

    Args:
        builder: A format that ``datasets`` knows, or a repository of the Hub.
        origin: Where the data is, for messages.
        field: Its path in the search file, for messages.
        cache: Folder for what is downloaded or converted.
    """
    import datasets

    datasets.disable_progress_bars()
    with _data_errors(field, origin):
        return datasets.load_dataset(builder, cache_dir=str(cache), **options)


def load_csv(file: str, field: str, **dialect: Any) -> Any:
    """A CSV file as a table of strings.

    pandas and not ``datasets``, which cannot be told to leave ``n/a``, ``None`` and ``007`` as they
    are; ``dialect`` are options of ``pandas.read_csv``.
    """
    import datasets
    import pandas

    with _data_errors(field, file):
        rows = pandas.read_csv(file, dtype=str, keep_default_na=False, **dialect)
        return datasets.Dataset.from_pandas(rows, preserve_index=False)


def check_table(table: Any, columns: dict[str, str], field: str, split: str, origin: str) -> None:
    """Refuse a table that has no rows, or lacks a column that a field of the source names."""
    for key, column in columns.items():
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{field}.{key}: no column {column!r} in {origin}; it has: {found}")
    if len(table) == 0:
        raise DataError(f"{field}.{split}: {origin} holds no rows")


@contextmanager
def _data_errors(field: str, origin: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # datasets raises dozens of classes, of pyarrow, pandas and the Hub's libraries.
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise DataError(f"{field}: {origin} cannot be read: {reason}") from error


def read_columns(
    source: Tables | HubDataset, columns: dict[str, str], split: str, field: str, cache: Path
) -> dict[str, list[Any]]:
    """The cells of some columns of a split.

    Args:
        columns: Name of each column, by the field of the source that gives it.
    """
    table = load_split(source, split, field, cache)
    check_table(table, columns, field, split, str(getattr(source, split)))
    return {key: list(table[column]) for key, column in columns.items()}


def is_missing(cell: Any) -> bool:
    """Whether a cell is null, or NaN, which pandas uses for null."""
    return cell is None or bool(cell != cell)


def is_blank(texts: Sequence[str]) -> bool:
    """Whether there is no text but white space."""
    return not any(text.strip() for text in texts)
