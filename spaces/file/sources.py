"""Where data comes from, as a search file says it: local files, the Hub, or what Python brings."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field

from spaces.file.dimensions import StrictModel

SPLITS = ("train", "validation", "test")
SOURCE_FIELDS = ("unlabelled", "labelled", "parallel", "images")
"""Fields of ``Data`` that are sources; a task needs some of them."""

REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
"""A name of the Hub, and no way into a folder of this machine."""

LOCAL_READERS = frozenset({
    "arrow", "audiofolder", "conll", "csv", "eval", "fasta", "fastq", "genbank", "harbor", "hdf5",
    "iceberg", "imagefolder", "json", "lance", "meshfolder", "mmcif", "niftifolder", "pandas",
    "parquet", "pdb", "pdffolder", "text", "tsfile", "videofolder", "vortex", "webdataset", "xml",
})  # fmt: skip
"""Names under which ``datasets`` reads the files of the current folder, and nothing of the Hub."""


class Splits(StrictModel):
    """What names each of its splits."""

    def inputs(self, split: str) -> list[str]:
        """What a split is read from; nothing where it is not named."""
        given: str | list[str] | None = getattr(self, split)
        return [given] if isinstance(given, str) else given or []

    def faults(self) -> list[str]:
        """Splits that are another one too, in words: a model is not scored on what it read."""
        taken: dict[str, str] = {}
        found = []
        for split in SPLITS:
            for given in self.inputs(split):
                other = taken.setdefault(os.path.normpath(given), split)
                if other != split:
                    found.append(
                        f"{split}: {given!r} is the {other} split too; give each its own, or leave "
                        f"{split} out, and a tenth of train is held out"
                    )
        return found


class StandardLibrary(StrictModel):
    """The Python standard library of the running interpreter: nothing to download.

    Unlabelled text is its source files. Labelled examples are snippets of about 64 tokens, and the
    label is the package that they come from.
    """

    source: Literal["standard_library"]


class Files(Splits):
    """Local files that Hugging Face ``datasets`` reads."""

    source: Literal["files"]
    format: Literal["csv", "tsv", "jsonl", "text", "parquet"] | None = None
    """Format of the files; without it, what the ending of ``train`` says."""
    train: str
    """Path of the training file, from the current folder."""
    validation: str | None = None
    """Path of the validation file; without it, a tenth of the training rows is held out."""
    test: str | None = None
    """Path of the test file; without it, a tenth of the training rows is held out."""
    columns: list[str] | None = None
    """Column names, for CSV and TSV files that have no header line."""
    text: str = "text"
    """Column that holds the text."""
    text_pair: str | None = None
    """Column that holds a second text, for pairs of sentences as in MNLI (labelled data only)."""
    label: str = "label"
    """Column that holds the label (labelled data only)."""


class HubDataset(Splits):
    """A data set of the Hugging Face Hub, whatever its rows hold."""

    source: Literal["hub"]
    dataset: Annotated[str, Field(pattern=REPOSITORY)]
    """Repository of the data set, such as ``stanfordnlp/sst2``."""
    config: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Commit, tag or branch; name a commit for a search that can be repeated."""
    train: str = "train"
    """Split to train on."""
    validation: str | None = None
    """Split to choose on; without it, a tenth of the training rows is held out."""
    test: str | None = None
    """Split to report on; without it, a tenth of the training rows is held out."""

    def faults(self) -> list[str]:
        """The same, and a name that is not the Hub's."""
        found = super().faults()
        if self.dataset in LOCAL_READERS:
            found.append(
                f"dataset: {self.dataset!r} reads files of this machine; name a data set of the "
                "Hub as owner/name"
            )
        return found


class HubText(HubDataset):
    """A data set of texts of the Hugging Face Hub."""

    text: str = "text"
    """Column that holds the text."""
    text_pair: str | None = None
    """Column that holds a second text, for pairs of sentences as in MNLI (labelled data only)."""
    label: str = "label"
    """Column that holds the label (labelled data only)."""


TextSource = Annotated[StandardLibrary | Files | HubText, Field(discriminator="source")]

Aligned = Annotated[list[str], Field(min_length=2, max_length=2)]


class AlignedFiles(Splits):
    """Two plain text files for each split, a sentence a line: line by line translations."""

    source: Literal["aligned_files"]
    train: Aligned
    """Paths of the training files: the language to read, the language to write. May be gzipped."""
    validation: Aligned | None = None
    """Paths for validation; without them, a tenth of the training pairs is held out."""
    test: Aligned | None = None
    """Paths for test; without them, a tenth of the training pairs is held out."""


class HubTranslation(HubDataset):
    """A translation data set of the Hugging Face Hub, such as ``Helsinki-NLP/opus_books``."""

    text: str = "translation.en"
    """Column of the language to read; a dot leads into a column of records."""
    target: str = "translation.fr"
    """Column of the language to write."""


TranslationSource = Annotated[AlignedFiles | HubTranslation, Field(discriminator="source")]


class Digits(StrictModel):
    """scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, nothing to download."""

    source: Literal["digits"]


class ImageFolder(Splits):
    """Folders of images, with a folder of its own for each class, as ``datasets`` reads them."""

    source: Literal["image_folder"]
    train: str
    """Path of the training folder."""
    validation: str | None = None
    """Path of the validation folder; without it, a tenth of the training images is held out."""
    test: str | None = None
    """Path of the test folder; without it, a tenth of the training images is held out."""


class HubImages(HubDataset):
    """An image classification data set of the Hugging Face Hub, such as ``ylecun/mnist``."""

    image: str = "image"
    """Column that holds the image."""
    label: str = "label"
    """Column that holds the label."""


ImageSource = Annotated[Digits | ImageFolder | HubImages, Field(discriminator="source")]


class Data(StrictModel):
    """Where the data comes from and how it becomes tokens or pixels."""

    unlabelled: TextSource | None = None
    """Running text: to pre-train on, or to model."""
    labelled: TextSource | None = None
    """Labelled texts for fine-tuning, validation and test."""
    parallel: TranslationSource | None = None
    """Sentences and their translations."""
    images: ImageSource | None = None
    """Labelled images."""
    vocabulary_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4096
    """Tokens of the byte-level BPE vocabulary that is trained on the training texts."""
    sequence_length: Annotated[int, Field(ge=8, le=4096)] = 64
    """Longest input in tokens; longer ones are cut."""
    image_size: Annotated[int, Field(ge=2, le=1024)] = 32
    """Height and width, in pixels, to which images are resized."""
    patch_size: Annotated[int, Field(ge=1, le=256)] = 4
    """Height and width of a patch, in pixels; divides the image's."""
    channels: Literal[1, 3] = 3
    """Colours of an image: 1 for grey, 3 for red, green and blue."""

    def faults(self) -> list[str]:
        """What is wrong with a source although each field is right, in words for its author."""
        sources = {part: getattr(self, part) for part in SOURCE_FIELDS}
        return [
            f"data.{part}.{fault}"
            for part, source in sources.items()
            if isinstance(source, Splits)
            for fault in source.faults()
        ]
