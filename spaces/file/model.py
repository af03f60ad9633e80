"""The checkpoint that the models of a search start from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from spaces.cost.checkpoint import Checkpoint, checkpoint_of
from spaces.file.dimensions import Choices, StrictModel, one_value
from spaces.file.inputs.tables import REPOSITORY
from spaces.file.sources import Data

PACKAGE = "package:"
FOLDER = ("/", "./", "../", "~/")


def is_package(name: str) -> bool:
    """Whether a checkpoint is named as that of an installed Python package."""
    return name.startswith(PACKAGE)


def is_folder(name: str) -> bool:
    """Whether a checkpoint is named as a folder of this machine."""
    return name.startswith(FOLDER) or name in (".", "..")


def folder_path(name: str) -> str:
    """The path of a checkpoint that is named as a folder."""
    return os.path.expanduser(name)


def _spelling(name: str) -> str:
    is_repository = re.fullmatch(REPOSITORY, name) is not None
    if is_folder(name) or is_repository:
        return name
    if is_package(name) and name.removeprefix(PACKAGE).replace(".", "_").isidentifier():
        return name
    raise ValueError(
        f"{name!r} is no checkpoint; allowed are a folder (/path, ./path), an installed package "
        "(package:NAME) and a repository of the Hugging Face Hub (owner/name)"
    )


def _description(text: str) -> str:
    try:
        checkpoint_of(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("is not what tlc writes; leave it out") from error
    return text


Name = Annotated[str, AfterValidator(_spelling)]
Names = Annotated[
    Choices[Name], BeforeValidator(one_value, json_schema_input_type=Name | Choices[Name])
]
Description = Annotated[str, AfterValidator(_description)]


class Opened(StrictModel):
    """What tlc found in one of several checkpoints.

    Args:
        description: What arithmetic needs to know of it.
        data: The data with the sizes that it reads.
    """

    description: Description
    data: Data


class Model(StrictModel):
    """A checkpoint of transformers, of which a model keeps layers (``space.depth``), heads and
    neurons (``space.width``) and pieces of the vocabulary (``space.vocabulary``)."""

    source: Names = Field(alias="from")
    """One checkpoint, or the ``choices`` of a dimension of the search: a folder (``/path`` or
    ``./path``), ``package:NAME`` for the checkpoint in an installed Python package, or a repository
    of the Hugging Face Hub (``owner/name``). Weights are read from safetensors files alone, and no
    code of a checkpoint runs."""
    revision: str | None = None
    """Commit, tag or branch of the only checkpoint, a repository of the Hub; name a commit for a
    search that can be reproduced."""
    layers: Literal["evenly-spaced", "least-harmful"] = "evenly-spaced"
    """Which layers ``space.depth`` keeps: ``evenly-spaced`` ones, the first and the last among
    them, or the ones that change the hidden states of training batches most, so that the
    ``least-harmful`` ones are removed."""
    description: Description | None = None
    """What arithmetic needs to know of it. tlc writes it when a search starts; leave it out."""
    opened: dict[str, Opened] | None = None
    """The same of each of several checkpoints, by name; leave it out."""

    @property
    def names(self) -> tuple[str, ...]:
        """The checkpoints as the file spells them."""
        return self.source.values

    @property
    def name(self) -> str:
        """The only checkpoint."""
        (name,) = self.names
        return name

    @property
    def is_opened(self) -> bool:
        """Whether tlc opened its checkpoints."""
        return (self.description if len(self.names) == 1 else self.opened) is not None

    def alone(self, name: str) -> Model:
        """The same with one of its several checkpoints."""
        description = None if self.opened is None else self.opened[name].description
        source = Choices[str](choices=[name])
        update = {"source": source, "description": description, "opened": None}
        return self.model_copy(update=update)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint; None before it was opened."""
        return None if self.description is None else checkpoint_of(self.description)

    def of_several(self, opened: Sequence[tuple[Model, Data]]) -> Model:
        """The same with what was found of each of its several checkpoints, and its data."""
        known = {
            model.name: Opened(description=model.description or "", data=data)
            for model, data in opened
        }
        update = {"source": Choices[str](choices=list(known)), "opened": known}
        return self.model_copy(update=update)

    def local_paths(self) -> list[tuple[str, str]]:
        """The folders of this machine that are named, with their field."""
        return [("model.from", folder_path(name)) for name in self.names if is_folder(name)]

    def faults(self) -> list[str]:
        """Fields that contradict each other."""
        if self.revision is None:
            return []
        if len(self.names) > 1:
            return ["model.revision: is that of one checkpoint; with several, leave it out"]
        if is_folder(self.name) or is_package(self.name):
            return [f"model.revision: {self.name} is no repository of the Hub and has none"]
        return []
