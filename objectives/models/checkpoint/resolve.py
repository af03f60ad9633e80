"""Opening the checkpoint of a search file, so that arithmetic knows it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from objectives.data.defaults import with_default_sizes
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.models.checkpoint.describe import describe
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.image_inputs import image_inputs
from objectives.models.checkpoint.opening import open_checkpoint
from spaces.file.model import Model, is_folder
from spaces.file.search_file import SearchFile
from spaces.file.sources import Data
from spaces.file.tasks import Task
from spaces.loading import with_model

Tokenizers = dict[str, PretrainedTokenizer | None]
"""By checkpoint: empty for the only one; None where its models read images."""


class Resolved(NamedTuple):
    """The sections of a search file with what its checkpoint determines.

    ``model`` has the checkpoint's description, ``data`` the sizes that it reads; images have no
    tokenizer.
    """

    model: Model
    data: Data
    tokenizer: PretrainedTokenizer | None


def resolved(model: Model, task: Task, data: Data) -> Resolved:
    """Open the checkpoint of a search, and read its weights.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or not suited.
    """
    opened = open_checkpoint(model, task.name)
    classes = task.workload_of(data).classes
    described = describe(opened, classes)
    if model.layers == "least-harmful" and not described.has_equal_layers:
        raise CheckpointError(
            model.name,
            "its layers are of several kinds, which cannot take each other's places; allowed is "
            "model.layers: evenly-spaced",
        )
    opened.load(classes)
    source = str(opened.folder) if is_folder(model.name) else model.name
    known = model.alone(source).model_copy(update={"description": described.to_json()})
    if data.images is None:
        sizes = {"vocabulary_size": opened.tokenizer.pieces}
        return Resolved(known, data.model_copy(update=sizes), opened.tokenizer)
    inputs = image_inputs(opened)
    for name, own in inputs.items():
        given = getattr(data, name)
        if name in data.model_fields_set and given != own:
            raise CheckpointError(model.name, f"it reads data.{name} {own}, not {given}")
    return Resolved(known, data.model_copy(update=inputs), None)


def with_checkpoints(search: SearchFile, folder: Path) -> tuple[SearchFile, Tokenizers]:
    """A search with what its checkpoints determine, and with the sizes that its file leaves out,
    which follow the data; and their tokenizers.

    Args:
        folder: That of prepared data, into which data sets are downloaded.

    Raises:
        UserError: A checkpoint is missing, damaged or not suited, the space asks for more than
            there is, or the scores of several cannot be compared.
    """
    found: list[Resolved] = []
    for alone in map(search.alone, search.checkpoints or ("",)):
        if alone.model is None:
            return search, {"": None}
        model, data, tokenizer = resolved(alone.model, search.task, alone.data)
        data = with_default_sizes(data, search.task, folder, tokenizer)
        found.append(Resolved(model, data, tokenizer))
    first = found[0]
    if len(found) == 1:
        return with_model(search, first.model, first.data), {"": first.tokenizer}
    _check_comparable(search, found)
    assert search.model is not None
    model = search.model.of_several([(each.model, each.data) for each in found])
    return with_model(search, model, first.data), {
        each.model.name: each.tokenizer for each in found
    }


def _check_comparable(search: SearchFile, found: list[Resolved]) -> None:
    names: dict[str, str] = {}
    for model, _, _ in found:
        assert model.checkpoint is not None
        digest = model.checkpoint.digest
        if digest in names:
            raise CheckpointError(model.name, f"is the same checkpoint as {names[digest]}")
        names[digest] = model.name
    tokenizers = {each.tokenizer.digest for each in found if each.tokenizer is not None}
    if search.metric.name == "perplexity" and len(tokenizers) > 1:
        raise CheckpointError(
            ", ".join(names.values()),
            "perplexities of different vocabularies cannot be compared; choose checkpoints with "
            "equal tokenizers, or objectives: [bits-per-byte, size_mb]",
        )
