"""A task that the user wrote, as a search file names it: no code of it runs here."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from spaces.cost.metric import Metric, MetricName
from spaces.cost.own_model import own_model_of
from spaces.cost.workload import Family, Workload
from spaces.errors import UserError
from spaces.file.base_task import BaseTask
from spaces.file.dimensions import Count, StrictModel

if TYPE_CHECKING:
    from spaces.file.sources import Data

OPENED = "task.opened"
ENTRY_POINTS = "tlc.tasks"
"""Group of entry points under which an installed package registers tasks by plain names."""
DOTTED_PATH = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


@cache
def registered() -> dict[str, str]:
    """The classes of installed packages by the names that they are registered under; reading them
    imports nothing."""
    return {each.name: each.value for each in entry_points(group=ENTRY_POINTS)}


def is_own(name: str, built_in: Container[str]) -> bool:
    """Whether the name of a task is that of a user's class, and not of one of tlc's."""
    return name not in built_in and (":" in name or name in registered())


def class_path(name: str) -> str:
    """``module:Class`` of a task's name.

    Raises:
        ValueError: It is none, and no installed package registers it.
    """
    path = name if ":" in name else registered().get(name, name)
    if not re.fullmatch(DOTTED_PATH, path):
        raise ValueError(
            f"{name!r} names no class; allowed are module:Class, such as my_package.tasks:MyTask, "
            f"and the names of the entry points {ENTRY_POINTS}"
        )
    return path


def _own_model(text: str) -> str:
    try:
        own_model_of(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("is not what tlc writes; leave it out") from error
    return text


def named_differences(keys: list[str]) -> list[str]:
    """Keys in which two searches differ, with what a person changed in the place of what tlc wrote
    of it: the code or the data of a task."""
    found = [key.removeprefix(f"{OPENED}.") for key in keys if key.startswith(f"{OPENED}.")]
    given = [key for key in keys if not key.startswith(f"{OPENED}.")]
    changed = [f"{name} of the task" for name in ("code", "data") if name in found]
    return given + (changed or [f"{OPENED}.{name}" for name in found if not given])


class OpenedTask(StrictModel):
    """What tlc found in the class of a task when its search started."""

    path: Annotated[str, Field(pattern=f"^{DOTTED_PATH}$")]
    """``module:Class``, also where it was named by an entry point, which a worker may lack."""
    code: str
    """Its ``version``, or a hash of its source."""
    data: str
    """Fingerprint of its data."""
    metric: MetricName
    guessing: float
    perfect: float
    vocabulary_size: Annotated[int, Field(ge=0)]
    sequence_length: Count
    classes: Annotated[int, Field(ge=0)]
    model: Annotated[str, AfterValidator(_own_model)]
    """How its models are made (``spaces.cost.own_model``)."""


class OwnTask(BaseTask):
    """A class of one's own (docs/own-task.md): a subclass of ``tlc.Task``. All other keys are its
    fields (``tlc schema --task module:Class``)."""

    model_config = ConfigDict(extra="allow")

    needs = ()
    family = Family.OWN

    name: str
    """``module:Class``, or the name under which an installed package registers it as an entry point
    of the group ``tlc.tasks``."""
    opened: OpenedTask | None = None
    """What tlc found in the class. tlc writes it when a search starts; leave it out."""

    @field_validator("name")
    @classmethod
    def _names_a_class(cls, name: str) -> str:
        if ":" in name:
            class_path(name)
        return name

    @property
    def path(self) -> str:
        """``module:Class``.

        Raises:
            ValueError: No installed package registers its name.
        """
        return class_path(self.name) if self.opened is None else self.opened.path

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the class that the search file gives, not yet validated."""
        return dict(self.model_extra or {})

    @property
    def all_fields(self) -> dict[str, Any]:
        """Every field of the class, with the values that the file leaves out."""
        fields: dict[str, Any] = json.loads(own_model_of(self.found.model).fields)
        return fields

    @property
    def is_opened(self) -> bool:
        """Whether all that arithmetic needs is known of it."""
        return self.opened is not None

    @property
    def found(self) -> OpenedTask:
        """What tlc found in the class.

        Raises:
            UserError: It was not opened.
        """
        if self.opened is None:
            raise UserError(f"task.name: {self.name} was not opened yet")
        return self.opened

    @property
    def has_decoder(self) -> bool:
        """Whether its models have a decoder beside the encoder."""
        return own_model_of(self.found.model).has_decoder

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        found = self.found
        return Workload(
            self.family,
            found.vocabulary_size,
            found.sequence_length,
            classes=found.classes,
            own=found.model,
        )

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The score of its models; none is known before it is opened."""
        found = self.opened
        return () if found is None else (Metric(found.metric, found.guessing, found.perfect),)
