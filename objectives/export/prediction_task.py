"""The task of an exported model, as far as predictions depend on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from objectives.data.encoding import END, MASK, PAD, START
from objectives.data.prepared_data import PreparedData
from objectives.measurement.scores.bleu_tokenizers import bleu_tokenizer
from spaces.cost.metric import MetricName
from spaces.cost.workload import Workload
from spaces.file.image_processor import ImageProcessor, Resample
from spaces.file.sources import Data
from spaces.file.tasks import Task


@dataclass(frozen=True)
class PredictionTask:
    """What predictions need beside the model and its tokenizer.

    Args:
        metric: Name of its score.
        labels: Name of each class, in the order of the logits; empty without classes.
        label_scale: Mean and standard deviation of labels that are numbers: an output is multiplied
            with the second and added to the first; empty where labels are none.
        takes_pairs: Whether an input is a pair of texts.
        has_token_types: Whether types of tokens tell the texts of a pair apart.
        beams: Beams of the search that decodes; 1 is greedy.
        bleu_tokenizer: What divides texts into the words of BLEU; empty without a text to write.
        target_start: The token that a decoder starts from, and the one that it must write first,
            if any.
        sequence_length: Longest input in tokens, the special ones included.
        target_length: Longest text that a decoder writes, in tokens; 0 without one.
        image_size: Height and width of images in pixels; 0 without images.
        channels: 1 for grey, 3 for red, green and blue; 0 without images.
        image_processor: The fields of an image processor of transformers; empty without images.
        background: The colour of what is transparent in an image; empty without images.
        tokens: The special tokens: ``start``, ``pad``, ``end`` and ``mask``.
    """

    name: str
    metric: str
    labels: tuple[str, ...] = ()
    label_scale: tuple[float, ...] = ()
    takes_pairs: bool = False
    has_token_types: bool = False
    beams: int = 1
    bleu_tokenizer: str = ""
    target_start: tuple[int, ...] = (START,)
    sequence_length: int = 0
    target_length: int = 0
    image_size: int = 0
    channels: int = 0
    image_processor: dict[str, Any] = field(default_factory=dict)
    background: str = ""
    tokens: dict[str, int] = field(
        default_factory=lambda: {"start": START, "pad": PAD, "end": END, "mask": MASK}
    )

    @classmethod
    def of(
        cls, task: Task, sources: Data, data: PreparedData, workload: Workload, metric: MetricName
    ) -> PredictionTask:
        """The task of the models of a search."""
        return cls(
            name=task.name,
            metric=metric,
            labels=data.label_names,
            label_scale=data.label_scale if task.labels == "numbers" else (),
            takes_pairs=getattr(sources.labelled, "text_pair", None) is not None,
            has_token_types=data.has_token_types,
            beams=getattr(task, "beams", 1),
            bleu_tokenizer=_bleu_tokenizer(task, data) if workload.target_length else "",
            target_start=data.target_start,
            sequence_length=workload.sequence_length,
            target_length=workload.target_length,
            image_size=workload.image_size,
            channels=workload.channels,
            image_processor=image_processor_fields(
                sources.image_processor, size=workload.image_size, channels=workload.channels
            )
            if workload.image_size
            else {},
            background=sources.background if workload.image_size else "",
        )


def _bleu_tokenizer(task: Task, data: PreparedData) -> str:
    given: str | None = getattr(task, "bleu_tokenizer", None)
    return given or bleu_tokenizer(data.references("train"))


def image_processor_fields(
    processor: ImageProcessor, *, size: int, channels: int
) -> dict[str, Any]:
    """An image processor as ``preprocessor_config.json`` has it."""
    edge = processor.resize or size
    is_cut = processor.keeps_ratio or edge != size
    fields: dict[str, Any] = {
        "image_processor_type": "CLIPImageProcessor" if is_cut else "ViTImageProcessor",
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"height": edge, "width": edge},
        "resample": get_args(Resample).index(processor.resample),
        "do_rescale": True,
        "rescale_factor": processor.rescale_factor,
        "do_normalize": True,
        "image_mean": _of_each(processor.mean, channels),
        "image_std": _of_each(processor.std, channels),
    }
    if processor.keeps_ratio:
        fields["size"] = {"shortest_edge": edge}
    if is_cut:
        fields |= {"do_center_crop": True, "crop_size": {"height": size, "width": size}}
    return fields


def _of_each(values: list[float], channels: int) -> list[float]:
    return values * channels if len(values) == 1 else values
