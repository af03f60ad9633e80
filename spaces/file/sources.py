"""The data of a search file: local files, the Hugging Face Hub, or what comes with Python."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from spaces.file.dimensions import StrictModel
from spaces.file.image_processor import Colour, ImageProcessor
from spaces.file.inputs.tables import (
    SPLITS,
    Aligned,
    Encoding,
    HubDataset,
    Several,
    Splits,
    Tables,
)

SOURCE_FIELDS = ("unlabelled", "labelled", "tagged", "parallel", "images")
"""Fields of ``Data`` that are sources; a task needs some of them."""

SIZES = ("vocabulary_size", "sequence_length", "target_length")
"""Fields of ``Data`` that follow the data where they are left out."""


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return pattern


class TextColumns(StrictModel):
    """The columns of a source of texts, and what its documents are."""

    text: str = "text"
    """Column that holds the text."""
    text_pair: str | None = None
    """Column that holds a second text, for pairs of sentences as in MNLI (labelled data only)."""
    label: str = "label"
    """Column that holds the label (labelled data only)."""
    group: str | None = None
    """Column that names the group of a row, such as its document or its author (labelled data
    only): rows of one group depend on each other. Whole groups are held out, and intervals of
    scores are those of independent groups."""
    document: Literal["file", "paragraph", "line", "row"] | None = None
    """What a document of running text is (unlabelled data only): the whole ``file``, a
    ``paragraph`` (blank lines separate them), a ``line``, or a ``row`` of a table. Default: the
    file for plain text, the row for tables. The end token stands between documents, and whole
    documents are held out; of fewer than ten documents, contiguous blocks."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """In place of ``document``: the text between two documents, such as ``<|endoftext|>``."""
    heading: Annotated[str, AfterValidator(_regular_expression)] | None = None
    """In place of ``document``: a regular expression that the first line of each document matches,
    such as ``^ = [^=].*[^=] = $`` for the articles of WikiText."""
    decimal: Literal[".", ","] = "."
    """What stands before the fraction of labels that are numbers: ``,`` for 1,5."""
    thousands: Literal[",", ".", " ", "'"] | None = None
    """What separates the thousands of labels that are numbers: ``,`` for 1,234.5."""
    skip_missing: bool = False
    """Leave out labelled rows without a text or a label, and say how many; by default they are
    refused."""

    def divisions(self) -> list[str]:
        """The fields that say what a document is; one at most is allowed."""
        return [name for name in ("document", "separator", "heading") if getattr(self, name)]


class StandardLibrary(StrictModel):
    """The Python standard library of the running interpreter: nothing to download.

    Unlabelled text is its source files. Labelled examples are snippets of about 64 tokens, and the
    label is the package that they come from.
    """

    source: Literal["standard_library"]


class Files(TextColumns, Tables):
    """Local files of texts."""


class HubText(TextColumns, HubDataset):
    """A data set of texts of the Hugging Face Hub."""


class OfLabelled(StrictModel):
    """The texts of ``data.labelled`` or ``data.tagged`` without their labels, split as they are:
    no model is pre-trained on a text that it is tested on (unlabelled data only)."""

    source: Literal["labelled"]


TextSource = Annotated[StandardLibrary | Files | HubText, Field(discriminator="source")]


RunningText = Annotated[
    StandardLibrary | Files | HubText | OfLabelled, Field(discriminator="source")
]


class TaggedColumns(StrictModel):
    """The columns of a source of sentences whose words have tags."""

    words: str = "tokens"
    """Column of the words of each sentence, a list of texts."""
    tags: str = "ner_tags"
    """Column of their tags, such as ``pos_tags``: a list of names, or of numbers, which have the
    names that the data set gives them."""
    group: str | None = None
    """As that of labelled texts: a column that names, for example, the document of a sentence."""


class TaggedTables(TaggedColumns, Tables):
    """Local files (jsonl, parquet) whose rows are sentences."""


class HubTagged(TaggedColumns, HubDataset):
    """A data set of tagged sentences of the Hugging Face Hub, such as ``eriktks/conll2003``."""


class ConllFiles(Splits[Several]):
    """Local files with a word a line and a blank line between sentences, as those of CoNLL-2003,
    plain or gzipped. Tabs separate columns, or spaces in a line without tabs; lines that begin with
    ``-DOCSTART-`` are skipped."""

    source: Literal["conll"]
    word: int = 0
    """Column of the word, counted from 0; from the last one, -1, where it is negative."""
    tag: int = -1
    """Column of its tag."""
    encoding: Encoding | None = None
    """As that of tables."""


TaggedSource = Annotated[ConllFiles | TaggedTables | HubTagged, Field(discriminator="source")]


class AlignedFiles(Splits[Aligned]):
    """Two text files for each split, plain or gzipped, which match line by line: a text to read in
    the first, the text to write in the second."""

    source: Literal["aligned_files"]
    encoding: Encoding | None = None
    """As that of tables."""

    def faults(self) -> list[str]:
        """The same, and a file that is both sides of a pair."""
        return super().faults() + [
            f"{split}: {given[0]!r} is given twice; give the texts to read, and those to write"
            for split in SPLITS
            if (given := self.inputs(split)) and len(set(map(os.path.normpath, given))) == 1
        ]


class PairTables(Tables):
    """Local files whose rows are pairs of texts, such as documents and their summaries."""

    text: str = "text"
    """Column of the text to read; a dot leads into a column of records."""
    target: str = "target"
    """Column of the text to write."""
    group: str | None = None
    """As that of labelled texts: a column that names, for example, the document of a pair."""


class HubPairs(HubDataset):
    """A data set of pairs of texts of the Hugging Face Hub, such as ``Helsinki-NLP/opus_books``."""

    text: str = "translation.en"
    """Column of the text to read, such as ``article`` of ``abisee/cnn_dailymail``; a dot leads into
    a column of records."""
    target: str = "translation.fr"
    """Column of the text to write, such as ``highlights``."""
    group: str | None = None
    """As that of files."""


PairSource = Annotated[AlignedFiles | PairTables | HubPairs, Field(discriminator="source")]


class Digits(StrictModel):
    """scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, nothing to download."""

    source: Literal["digits"]


class ImageFolder(Splits[str]):
    """Folders of images, with a folder of its own for each class, as ``datasets`` reads them."""

    source: Literal["image_folder"]
    group: str | None = None
    """As that of labelled texts: a column that names, for example, the person or the place of an
    image, of the table ``metadata.csv`` (or jsonl, parquet) in each of these folders. Its column
    ``file_name`` has the path of an image in the folder, as ``datasets`` has it."""


class HubImages(HubDataset):
    """An image classification data set of the Hugging Face Hub, such as ``ylecun/mnist``."""

    image: str = "image"
    """Column that holds the image."""
    label: str = "label"
    """Column that holds the label."""
    group: str | None = None
    """As that of labelled texts: a column that names, for example, the person of an image."""


ImageSource = Annotated[Digits | ImageFolder | HubImages, Field(discriminator="source")]


class Data(StrictModel):
    """Sources of data, and how they become tokens or pixels."""

    unlabelled: RunningText | None = None
    """Running text for pre-training or language modelling."""
    labelled: TextSource | None = None
    """Labelled texts for fine-tuning, validation and test."""
    tagged: TaggedSource | None = None
    """Sentences as lists of words, each with a tag."""
    parallel: PairSource | None = None
    """Pairs of a text to read and a text to write: sentences and their translations, documents and
    their summaries."""
    images: ImageSource | None = None
    """Labelled images."""
    vocabulary_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4096
    """Tokens of the byte-level BPE vocabulary that is trained on the training texts. If it is left
    out, a search takes the largest of which 95 % occur 100 times in them, up to 16,384."""
    sequence_length: Annotated[int, Field(ge=8, le=4096)] = 64
    """Longest input in tokens; longer ones are cut. If it is left out, a search takes the length of
    99 % of the training texts, up to 512; of running text alone, 64."""
    target_length: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Longest text to write in tokens (``data.parallel`` only); longer ones are cut, in training
    alone. If it is left out, a search takes the length of 99 % of the training targets, up to
    512."""
    image_size: Annotated[int, Field(ge=2, le=1024)] = 32
    """Height and width, in pixels, to which images are resized."""
    patch_size: Annotated[int, Field(ge=1, le=256)] = 4
    """Height and width of a patch, in pixels; divides the image's."""
    channels: Literal[1, 3] = 3
    """Channels of an image: 1 for grey, 3 for red, green and blue."""
    background: Colour = "white"
    """The colour of what is transparent in an image: ``white``, ``black``, or red, green and blue
    as in ``#ff8000``."""
    image_processor: ImageProcessor = ImageProcessor()
    """How images become what models read. A checkpoint has its own; by default, images are resized
    to ``image_size``, and pixels to -1 to 1."""

    def missing_sizes(self) -> set[str]:
        """The sizes of ``SIZES`` that were left out, and follow the data."""
        if self.images is not None:
            return set()
        missing = set(SIZES) - self.model_fields_set
        return missing if self.parallel is not None else missing - {"target_length"}

    @property
    def longest_target(self) -> int:
        """Longest text to write in tokens: where it is not known yet, as that to read."""
        return self.target_length or self.sequence_length

    @property
    def _splits(self) -> dict[str, Splits[Any]]:
        """Sources that name their splits, by their field."""
        sources = {f"data.{field}": getattr(self, field) for field in SOURCE_FIELDS}
        return {field: source for field, source in sources.items() if isinstance(source, Splits)}

    def faults(self) -> list[str]:
        """Valid fields of a source that contradict each other, or that it does not read."""
        given = [
            f"{field}.{fault}"
            for field, source in self._splits.items()
            for fault in source.faults()
        ]
        pairs, tagged = self.parallel, self.tagged
        if isinstance(pairs, PairTables | HubPairs) and pairs.text == pairs.target:
            given.append(
                f"data.parallel.target: {pairs.target!r} is the column of text too; name that of "
                "the texts to write"
            )
        both = "is the column of words too; name that of their tags"
        if isinstance(tagged, TaggedColumns) and tagged.words == tagged.tags:
            given.append(f"data.tagged.tags: {tagged.tags!r} {both}")
        if isinstance(tagged, ConllFiles) and tagged.word == tagged.tag:
            given.append(f"data.tagged.tag: {tagged.tag} {both}")
        for name, texts in (("labelled", self.labelled), ("unlabelled", self.unlabelled)):
            if isinstance(texts, TextColumns) and texts.decimal == texts.thousands:
                given.append(f"data.{name}.thousands: {texts.thousands!r} is the decimal point too")
        if isinstance(self.labelled, TextColumns):
            given += [
                f"data.labelled.{name}: {column!r} is the column of text too; name another one"
                for name in ("label", "text_pair")
                if (column := getattr(self.labelled, name)) == self.labelled.text
            ]
            given += [
                f"data.labelled.{name}: a labelled text is a row, and its document its group"
                for name in self.labelled.divisions()
            ]
        if isinstance(self.unlabelled, OfLabelled) and not (self.labelled or self.tagged):
            given.append("data.unlabelled.source: labelled reads data.labelled, which is missing")
        if isinstance(self.unlabelled, TextColumns):
            if self.unlabelled.group is not None:
                given.append("data.unlabelled.group: the groups of running text are its documents")
            given += [
                f"data.unlabelled.{name}: is given beside {self.unlabelled.divisions()[0]}"
                for name in self.unlabelled.divisions()[1:]
            ]
        return given

    def local_paths(self) -> list[tuple[str, str]]:
        """Every local file and folder that is named, with its field."""
        return [
            (f"{field}.{split}", path)
            for field, source in self._splits.items()
            if not isinstance(source, HubDataset)
            for split in SPLITS
            for path in source.inputs(split)
        ]
