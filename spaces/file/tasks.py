"""What models are trained for, as a search file says it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from spaces.cost import metric
from spaces.cost.metric import Metric, MetricName
from spaces.cost.workload import Family, Workload
from spaces.file.dimensions import StrictModel
from spaces.file.sources import SOURCE_FIELDS, Data

Classes = Annotated[int, Field(ge=2, le=10_000)]


class Classification(StrictModel):
    """Pre-train a masked language model, then fine-tune it to classify texts or pairs of them."""

    needs: ClassVar[tuple[str, ...]] = ("unlabelled", "labelled")
    has_fine_tuning: ClassVar[bool] = True
    has_decoder: ClassVar[bool] = False

    name: Literal["classification"]
    classes: Classes
    """Number of labels in the labelled data."""

    def workload(self, data: Data) -> Workload:
        """What its models read and answer."""
        return Workload(
            Family.ROBERTA_CLASSIFIER, data.vocabulary_size, data.sequence_length, self.classes
        )

    def metric(self, data: Data) -> Metric:
        """What it is scored by."""
        return metric.accuracy(self.classes)


class MaskedLanguageModel(StrictModel):
    """Predict masked tokens of running text; scored by their perplexity."""

    needs: ClassVar[tuple[str, ...]] = ("unlabelled",)
    has_fine_tuning: ClassVar[bool] = False
    has_decoder: ClassVar[bool] = False

    name: Literal["masked-lm"]

    def workload(self, data: Data) -> Workload:
        """What its models read and answer."""
        return Workload(Family.ROBERTA_MASKED_LM, data.vocabulary_size, data.sequence_length)

    def metric(self, data: Data) -> Metric:
        """What it is scored by."""
        return metric.perplexity(data.vocabulary_size)


class CausalLanguageModel(StrictModel):
    """Predict the next token of running text; scored by its perplexity."""

    needs: ClassVar[tuple[str, ...]] = ("unlabelled",)
    has_fine_tuning: ClassVar[bool] = False
    has_decoder: ClassVar[bool] = False

    name: Literal["causal-lm"]

    def workload(self, data: Data) -> Workload:
        """What its models read and answer."""
        return Workload(Family.LLAMA, data.vocabulary_size, data.sequence_length)

    def metric(self, data: Data) -> Metric:
        """What it is scored by."""
        return metric.perplexity(data.vocabulary_size)


class Translation(StrictModel):
    """Translate sentences; scored by BLEU (sacreBLEU's)."""

    needs: ClassVar[tuple[str, ...]] = ("parallel",)
    has_fine_tuning: ClassVar[bool] = False
    has_decoder: ClassVar[bool] = True

    name: Literal["translation"]
    beams: Annotated[int, Field(ge=1, le=64)] = 1
    """Beams of the search that decodes; 1 is greedy."""

    def workload(self, data: Data) -> Workload:
        """What its models read and answer."""
        return Workload(Family.BART, data.vocabulary_size, data.sequence_length)

    def metric(self, data: Data) -> Metric:
        """What it is scored by."""
        return metric.bleu()


class ImageClassification(StrictModel):
    """Classify images."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    has_fine_tuning: ClassVar[bool] = False
    has_decoder: ClassVar[bool] = False

    name: Literal["image-classification"]
    classes: Classes
    """Number of labels in the data."""

    def workload(self, data: Data) -> Workload:
        """What its models read and answer."""
        return Workload(
            Family.VIT,
            vocabulary_size=0,
            sequence_length=(data.image_size // data.patch_size) ** 2 + 1,
            classes=self.classes,
            image_size=data.image_size,
            patch_size=data.patch_size,
            channels=data.channels,
        )

    def metric(self, data: Data) -> Metric:
        """What it is scored by."""
        return metric.accuracy(self.classes)


Task = Annotated[
    Classification | MaskedLanguageModel | CausalLanguageModel | Translation | ImageClassification,
    Field(discriminator="name"),
]

METRICS: dict[str, MetricName] = {
    "classification": "accuracy",
    "masked-lm": "perplexity",
    "causal-lm": "perplexity",
    "translation": "bleu",
    "image-classification": "accuracy",
}
"""What each task is scored by."""


def data_faults(task: Task, data: Data) -> list[str]:
    """What a task misses in the data, or cannot use."""
    faults = []
    for field in SOURCE_FIELDS:
        is_given, is_needed = getattr(data, field) is not None, field in task.needs
        if is_needed and not is_given:
            faults.append(f"data.{field}: is missing; task {task.name} needs it")
        if is_given and not is_needed:
            needed = ", ".join(f"data.{name}" for name in task.needs)
            faults.append(f"data.{field}: task {task.name} does not read it; it reads {needed}")
    if "images" in task.needs and data.image_size % data.patch_size:
        faults.append(
            f"data.patch_size: {data.patch_size} does not divide data.image_size, {data.image_size}"
        )
    return faults
