"""Opening the checkpoint of a search file, so that arithmetic knows it."""

from __future__ import annotations

from typing import NamedTuple

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
    classes = getattr(task, "classes", 0)
    described = describe(opened, classes)
    if model.layers == "least-harmful" and not described.has_equal_layers:
        raise CheckpointError(
            model.source,
            "its layers are of several kinds, which cannot take each other's places; allowed is "
            "model.layers: evenly-spaced",
        )
    opened.load(classes)
    source = str(opened.folder) if is_folder(model.source) else model.source
    known = model.model_copy(update={"source": source, "description": described.to_json()})
    if data.images is None:
        sizes = {"vocabulary_size": opened.tokenizer.pieces}
        return Resolved(known, data.model_copy(update=sizes), opened.tokenizer)
    inputs = image_inputs(opened)
    for name, own in inputs.items():
        given = getattr(data, name)
        if name in data.model_fields_set and given != own:
            raise CheckpointError(model.source, f"it reads data.{name} {own}, not {given}")
    return Resolved(known, data.model_copy(update=inputs), None)


def with_checkpoint(search: SearchFile) -> tuple[SearchFile, PretrainedTokenizer | None]:
    """A search with what its checkpoint determines, and the checkpoint's tokenizer, where it has
    them.

    Raises:
        UserError: The checkpoint is missing, damaged or not suited, or the space asks for more than
            it has.
    """
    if search.model is None:
        return search, None
    model, data, tokenizer = resolved(search.model, search.task, search.data)
    return with_model(search, model, data), tokenizer
