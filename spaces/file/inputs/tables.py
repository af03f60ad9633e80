"""Sources that name the input of each split: tables of local files, data sets of the Hub."""

from __future__ import annotations

import os
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, Field

from spaces.file.dimensions import StrictModel

SPLITS = ("train", "validation", "test")

REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
"""Matches names of the Hub, and no path into a folder of this machine."""

LOCAL_READERS = frozenset({
    "arrow", "audiofolder", "conll", "csv", "eval", "fasta", "fastq", "genbank", "harbor", "hdf5",
    "iceberg", "imagefolder", "json", "lance", "meshfolder", "mmcif", "niftifolder", "pandas",
    "parquet", "pdb", "pdffolder", "text", "tsfile", "videofolder", "vortex", "webdataset", "xml",
})  # fmt: skip
"""Names for which ``datasets`` reads files of the current folder, not the Hub."""


def _encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(f"is {name!r}, no encoding of texts that Python knows") from error
    return name


Format = Literal["csv", "tsv", "jsonl", "text", "parquet", "arrow"]
Quoting = Literal["double", "backslash", "none"]
Encoding = Annotated[str, AfterValidator(_encoding)]

Aligned = Annotated[list[str], Field(min_length=2, max_length=2)]
"""Source language, target language."""
Several = str | Annotated[list[str], Field(min_length=1)]
"""A file, a pattern or a URL, or a list of them."""
Input = TypeVar("Input", str, Aligned, Several)


class Splits(StrictModel, Generic[Input]):
    """A source that names the input of each of its splits."""

    train: Input
    """What to train on: a file, a folder, or a split of the Hub."""
    validation: Input | None = None
    """Validation split, on which trials are compared; default: a tenth of train is held out."""
    test: Input | None = None
    """Test split, read once at the end; default: a tenth of train is held out."""

    def inputs(self, split: str) -> list[str]:
        """Files, folders or splits of the Hub that a split is read from; none by default."""
        given: str | list[str] | None = getattr(self, split)
        return [given] if isinstance(given, str) else given or []

    def faults(self) -> list[str]:
        """Inputs that two splits share: a model must not be scored on what it was trained on."""
        first_use: dict[str, str] = {}
        return [
            f"{split}: {given!r} is the {other} split too; give each split its own input, or omit "
            f"{split}, and a tenth of train is held out"
            for split in SPLITS
            for given in self.inputs(split)
            if (other := first_use.setdefault(os.path.normpath(given), split)) != split
        ]


class Tables(Splits[Several]):
    """Files of rows, each plain or compressed (gz, bz2, xz, zst): a file, the files that a pattern
    such as ``train-*.parquet`` matches, or a folder of ``save_to_disk``; a list of several; or a
    URL of fsspec, such as ``s3://BUCKET/train-*.parquet``, whose files are copied below TLC_HOME
    once."""

    source: Literal["files"]
    format: Format | None = None
    """Format of the files; by default that of the ending of each."""
    encoding: Encoding | None = None
    """Encoding of files of text, such as ``cp1252``; by default UTF-8, or what a byte order mark
    says."""
    columns: list[str] | None = None
    """Column names, for CSV and TSV files that have no header line."""
    delimiter: Annotated[str, Field(min_length=1, max_length=8)] | None = None
    """What stands between the fields of CSV and TSV files; by default a comma or a tab."""
    quoting: Quoting | None = None
    """What a double quote means in CSV and TSV files. ``double``: a field may stand in quotes, and
    those in it are doubled (the default for CSV). ``backslash``: the same, with a backslash before
    those in it. ``none``: it is a character like any other (the default for TSV)."""
    skip_spaces: bool | None = None
    """Whether spaces after a delimiter of a CSV file belong to no field, so that quotes may follow
    them; by default they belong to it, and quotes after them are refused."""
    comment: Annotated[str, Field(min_length=1)] | None = None
    """What a line begins with that is no row of a CSV or TSV file, such as ``#``."""
    skip_lines: Annotated[int, Field(ge=0)] = 0
    """Lines of a CSV or TSV file before its header or first row."""
    null: list[str] | None = None
    """Cells of CSV and TSV files that stand for no value, such as ``NA``; by default a cell is what
    is written in it."""
    records: str | None = None
    """Key of the list of rows, for a JSON file that is one record."""

    def faults(self) -> list[str]:
        """The same, and a delimiter that cannot be one."""
        found, delimiter = super().faults(), self.delimiter
        if delimiter is not None and set(delimiter) & {"\n", "\r", '"'}:
            found.append(f"delimiter: {delimiter!r} has a quote or the end of a line in it")
        elif delimiter is not None and len(delimiter) > 1 and self.quoting not in (None, "none"):
            found.append(
                f"delimiter: {delimiter!r} has {len(delimiter)} characters; one of them separates "
                "fields in quotes"
            )
        return found

    def unread(self, form: Format) -> list[str]:
        """Fields that are not as by default, and that files of a format do not have."""
        delimited = {
            "columns", "delimiter", "quoting", "skip_spaces", "comment", "skip_lines", "null",
        }  # fmt: skip
        read = {
            "csv": {"encoding", *delimited},
            "tsv": {"encoding", *delimited},
            "jsonl": {"encoding", "records"},
            "text": {"encoding"},
        }.get(form, set[str]())
        # A search file that was written out again names every field.
        fields = type(self).model_fields
        given = {
            name
            for name in delimited | {"encoding", "records"}
            if name in fields
            and getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }
        return sorted(given - read)


class HubDataset(Splits[str]):
    """A data set of the Hugging Face Hub."""

    source: Literal["hub"]
    dataset: Annotated[str, Field(pattern=REPOSITORY)]
    """Repository of the data set, such as ``stanfordnlp/sst2``."""
    config: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Commit, tag or branch; name a commit for a search that can be reproduced."""
    train: str = "train"
    """Split to train on."""

    def faults(self) -> list[str]:
        """The same, and a name that is not one of the Hub."""
        found = super().faults()
        if self.dataset in LOCAL_READERS:
            found.append(
                f"dataset: {self.dataset!r} reads files of this machine; name a data set of the "
                "Hub as owner/name"
            )
        return found
