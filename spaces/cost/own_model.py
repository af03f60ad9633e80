"""The models of a user's own task as arithmetic knows them.

``objectives.tasks.own`` reads the layout of one small model on torch's meta device and writes it as
JSON; that of any other size follows from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from spaces.cost.layout import Layout


@dataclass(frozen=True, slots=True)
class OwnModel:
    """What determines the models of a task that a user wrote.

    Args:
        task: The task, as the search file names it.
        fields: Its fields as JSON, with sorted keys.
        code: Hash or version of its code.
        layout: Every weight of one small model.
        is_parametrised: Whether initial weights and learning rates follow from the sizes.
    """

    task: str
    fields: str
    code: str
    layout: Layout
    is_parametrised: bool

    @property
    def has_decoder(self) -> bool:
        """Whether models have a decoder beside the encoder."""
        return len(self.layout.stacks) > 1

    def to_json(self) -> str:
        """The text from which ``own_model_of`` makes it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["layout"] = json.loads(self.layout.to_json())
        return json.dumps(values, separators=(",", ":"))


@lru_cache(maxsize=100)
def own_model_of(description: str) -> OwnModel:
    """The models of a description.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    values = json.loads(description)
    layout = Layout.from_json(json.dumps(values["layout"]))
    return OwnModel(**{**values, "layout": layout})
