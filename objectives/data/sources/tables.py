"""What all sources of data share: files that must exist, their digest, and ``datasets``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spaces.errors import UserError
from spaces.file.sources import HubDataset


class DataError(UserError):
    """Data that is missing, empty, or not what the search file says."""


def check_file(path: str, field: str) -> None:
    """Refuse a local file that does not exist.

    Raises:
        DataError: Naming the field and the path.
    """
    if not Path(path).is_file():
        raise DataError(f"{field}: no such file: {path}")


def digest_of(paths: Iterable[str]) -> str:
    """SHA-256, in hex, of what files hold."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def load_hub(source: HubDataset, split: str, field: str, cache: Path) -> Any:
    """A split of a data set of the Hugging Face Hub; arguments and errors as ``load_table``."""
    place = getattr(source, split)
    for fault in source.faults():
        raise DataError(f"{field}.{fault}")
    # A bare name would be looked for among the folders of this machine first.
    return load_table(
        f"hf://datasets/{source.dataset}", place, f"{field}.{split}", cache,
        name=source.config, split=place, revision=source.revision,
    )  # fmt: skip


def load_table(builder: str, place: str, field: str, cache: Path, **options: Any) -> Any:
    """A table that ``datasets`` reads.

    Args:
        builder: A format that ``datasets`` knows, or a repository of the Hub.
        place: Where the data is, for the message.
        field: Path in the search file, for the message.
        cache: Folder for what is downloaded or converted.
        options: Of ``datasets.load_dataset``.

    Raises:
        DataError: It cannot be read.
    """
    import datasets

    datasets.disable_progress_bars()
    with _refused_by(field, place):
        return datasets.load_dataset(builder, cache_dir=str(cache), **options)


def load_csv(place: str, field: str, **dialect: Any) -> Any:
    """A table of texts as they are written: by itself pandas, which ``datasets`` reads CSV with,
    takes ``n/a`` and ``None`` for nothing, and ``007`` for 7.

    Args:
        place: The file.
        field: Path in the search file, for the message.
        dialect: Of ``pandas.read_csv``.

    Raises:
        DataError: It cannot be read.
    """
    import datasets
    import pandas

    with _refused_by(field, place):
        rows = pandas.read_csv(place, dtype=str, keep_default_na=False, **dialect)
        return datasets.Dataset.from_pandas(rows, preserve_index=False)


@contextmanager
def _refused_by(field: str, place: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # datasets raises dozens of classes, from pyarrow's, pandas' and the Hub's libraries.
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise DataError(f"{field}: {place} cannot be read: {reason}") from error
