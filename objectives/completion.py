"""What a search file leaves open: its checkpoints, and the sizes that follow its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

from objectives.data.defaults import with_default_sizes
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from spaces.file.search_file import SearchFile
from spaces.loading import with_data


def completed(
    search: SearchFile, folder: Path, report: Callable[[str], None] = lambda _: None
) -> tuple[SearchFile, Mapping[str, PretrainedTokenizer | None]]:
    """The search with its checkpoints opened, and with the sizes that its file leaves out.

    Args:
        folder: Of prepared data, into which data sets are downloaded.
        report: Called with a line for each thing that the file leaves open.

    Returns:
        The search, and the tokenizer of each of its checkpoints, where it has one; without a
        choice of checkpoints, under the empty name.

    Raises:
        UserError: A checkpoint or the data cannot be read, or the space asks for more than there
            is.
    """
    missing = search.data.missing_sizes()
    tokenizers: Mapping[str, PretrainedTokenizer | None] = {"": None}
    if search.model is not None:
        # Without a checkpoint this process needs no torch, whose import takes seconds.
        from objectives.models.checkpoint.resolve import with_checkpoints

        search, tokenizers = with_checkpoints(search, folder)
        for name in search.model.names if search.model else ():
            report(f"checkpoint: {name}")
        missing.discard("vocabulary_size")
    elif missing:
        search = with_data(search, with_default_sizes(search.data, search.task, folder))
    for checkpoint, name in product(search.checkpoints or ("",), sorted(missing)):
        size = getattr(search.alone(checkpoint).data, name)
        report(f"data.{name}: {size:,}, which follows the data")
    return search, tokenizers
