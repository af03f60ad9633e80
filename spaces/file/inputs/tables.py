"""Sources that name the input of each split: tables of local files, data sets of the Hub."""

from __future__ import annotations

import os
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field

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

Aligned = Annotated[list[str], Field(min_length=2, max_length=2)]
"""Source language, target language."""
Input = TypeVar("Input", str, Aligned)


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


class Tables(Splits[str]):
    """Local files of rows that Hugging Face ``datasets`` reads."""

    source: Literal["files"]
    format: Literal["csv", "tsv", "jsonl", "text", "parquet"] | None = None
    """Format of the files; by default that of the extension of ``train``."""
    columns: list[str] | None = None
    """Column names, for CSV and TSV files that have no header line."""


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
