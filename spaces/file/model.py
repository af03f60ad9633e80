"""The checkpoint that the models of a search start from."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from spaces.cost.checkpoint import Checkpoint, checkpoint_of
from spaces.file.dimensions import StrictModel
from spaces.file.sources import REPOSITORY

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


class Model(StrictModel):
    """A checkpoint of transformers, of which a model keeps layers (``space.depth``), heads and
    neurons (``space.width``) and pieces of the vocabulary (``space.vocabulary``)."""

    source: Annotated[str, AfterValidator(_spelling)] = Field(alias="from")
    """A folder (``/path`` or ``./path``), ``package:NAME`` for the checkpoint in an installed
    Python package, or a repository of the Hugging Face Hub (``owner/name``). Weights are read from
    safetensors files alone, and no code of a checkpoint runs."""
    revision: str | None = None
    """Commit, tag or branch of a repository of the Hub; name a commit for a search that can be
    reproduced."""
    layers: Literal["evenly-spaced", "least-harmful"] = "evenly-spaced"
    """Which layers ``space.depth`` keeps: ``evenly-spaced`` ones, the first and the last among
    them, or the ones that change the hidden states of training batches most, so that the
    ``least-harmful`` ones are removed."""
    description: Annotated[str, AfterValidator(_description)] | None = None
    """What arithmetic needs to know of it. tlc writes it when a search starts; leave it out."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint; None before it was opened."""
        return None if self.description is None else checkpoint_of(self.description)

    def local_paths(self) -> list[tuple[str, str]]:
        """The folder of this machine that is named, with its field."""
        return [("model.from", folder_path(self.source))] if is_folder(self.source) else []

    def faults(self) -> list[str]:
        """Fields that contradict each other."""
        if self.revision is not None and (is_folder(self.source) or is_package(self.source)):
            return [f"model.revision: {self.source} is no repository of the Hub and has none"]
        return []
