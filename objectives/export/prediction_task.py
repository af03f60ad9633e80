"""The task of an exported model, as far as predictions depend on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from objectives.data.encoding import END, MASK, PAD, START
from objectives.data.prepared_data import PreparedData
from spaces.cost.workload import Workload
from spaces.file.sources import Data
from spaces.file.tasks import Task


@dataclass(frozen=True)
class PredictionTask:
    """What predictions need beside the model and its tokenizer.

    Args:
        metric: Name of its score.
        labels: Name of each class, in the order of the logits; empty without classes.
        takes_pairs: Whether an input is a pair of texts.
        beams: Beams of the search that decodes; 1 is greedy.
        sequence_length: Longest input in tokens, the special ones included.
        image_size: Height and width of images in pixels; 0 without images.
        channels: 1 for grey, 3 for red, green and blue; 0 without images.
        tokens: The special tokens: ``start``, ``pad``, ``end`` and ``mask``.
    """

    name: str
    metric: str
    labels: tuple[str, ...] = ()
    takes_pairs: bool = False
    beams: int = 1
    sequence_length: int = 0
    image_size: int = 0
    channels: int = 0
    tokens: dict[str, int] = field(
        default_factory=lambda: {"start": START, "pad": PAD, "end": END, "mask": MASK}
    )

    @classmethod
    def of(
        cls, task: Task, sources: Data, data: PreparedData, workload: Workload
    ) -> PredictionTask:
        """The task of the models of a search."""
        return cls(
            name=task.name,
            metric=task.metric(sources).name,
            labels=data.label_names,
            takes_pairs=getattr(sources.labelled, "text_pair", None) is not None,
            beams=getattr(task, "beams", 1),
            sequence_length=workload.sequence_length,
            image_size=workload.image_size,
            channels=workload.channels,
        )
