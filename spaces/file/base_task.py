"""What all tasks of a search file have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from spaces.cost import metric
from spaces.cost.metric import Metric
from spaces.cost.workload import Family, Workload
from spaces.file.dimensions import StrictModel

if TYPE_CHECKING:
    from spaces.file.sources import Data


class BaseTask(StrictModel):
    """What tasks have in common; by default they are those of a language model."""

    needs: ClassVar[tuple[str, ...]] = ("unlabelled",)
    family: ClassVar[Family]
    has_fine_tuning: ClassVar[bool] = False
    starts_from_checkpoints: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    """Whether its models write texts, token by token."""
    labels: ClassVar[Literal["classes", "numbers"]] = "classes"
    """What labels are, where there are any."""

    @property
    def has_decoder(self) -> bool:
        """Whether its models have a decoder beside the encoder."""
        return False

    @property
    def is_opened(self) -> bool:
        """Whether all that arithmetic needs is known of it."""
        return True

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        return Workload(self.family, data.vocabulary_size, data.sequence_length)

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return (metric.perplexity(data.vocabulary_size),)
