"""The task of a search file: what models are trained for, and what they are scored by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from spaces.cost import metric
from spaces.cost.metric import Metric, MetricName
from spaces.cost.workload import Family, Workload
from spaces.file.base_task import BaseTask
from spaces.file.dimensions import PositiveNumber
from spaces.file.own_task import OwnTask, is_own
from spaces.file.sources import SOURCE_FIELDS, Data

if TYPE_CHECKING:
    from spaces.file.space import Space
    from spaces.file.training import Training

EncoderName = Literal["modernbert", "roberta"]
Classes = Annotated[int, Field(ge=2, le=10_000)]
Majority = Annotated[float, Field(gt=0.0, lt=1.0)]
FROM_DATA = ("majority", "deviation")
"""Fields that tlc reads from the data when a search starts."""
BleuTokenizer = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char"]


class OnLabelledTexts(BaseTask):
    """Pre-train a masked language model, then fine-tune it on labelled texts or pairs of them."""

    needs = ("unlabelled", "labelled")
    has_fine_tuning = True
    starts_from_checkpoints = True
    families: ClassVar[dict[str, Family]] = {
        "modernbert": Family.MODERNBERT_CLASSIFIER,
        "roberta": Family.ROBERTA_CLASSIFIER,
    }
    """Of the models with each encoder."""

    encoder: EncoderName = "modernbert"
    """``modernbert``, or ``roberta`` with learned positions and post-norm layers, which needs
    longer pre-training and trains badly where it is deep."""

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        family = self.families[self.encoder]
        return Workload(family, data.vocabulary_size, data.sequence_length, self.outputs)

    @property
    def outputs(self) -> int:
        """Numbers that models predict of a text."""
        return 1


class Classification(OnLabelledTexts):
    """Pre-train a masked language model, then fine-tune it to classify texts or pairs of them."""

    name: Literal["classification"]
    classes: Classes
    """Number of labels in the labelled data."""
    majority: Majority | None = None
    """Fraction of the training examples that are of the most frequent class, which is the accuracy
    of a guess. tlc reads it from the data when a search starts; leave it out."""

    @property
    def outputs(self) -> int:
        """Numbers that models predict of a text: a logit for each class."""
        return self.classes

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.of_classes(self.classes, self.majority)


class Regression(OnLabelledTexts):
    """Pre-train a masked language model, then fine-tune it to predict a number of texts or pairs of
    them; scored by its correlation with the labels, or by its error."""

    labels = "numbers"

    name: Literal["regression"]
    deviation: PositiveNumber | None = None
    """Standard deviation of the training labels, which is the ``rmse`` of a guess. tlc reads it
    from the data when a search starts; leave it out."""

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return *metric.correlations(), metric.rmse(self.deviation or 1.0)


class TokenClassification(OnLabelledTexts):
    """Pre-train a masked language model, then fine-tune it to tag each word of a sentence: named
    entities, parts of speech."""

    needs = ("unlabelled", "tagged")
    families: ClassVar[dict[str, Family]] = {
        "modernbert": Family.MODERNBERT_TOKEN_CLASSIFIER,
        "roberta": Family.ROBERTA_TOKEN_CLASSIFIER,
    }

    name: Literal["token-classification"]
    classes: Classes
    """Number of tags in the data, such as 9 of CoNLL-2003 with ``O``."""
    majority: Majority | None = None
    """Fraction of the training words that are of the most frequent tag, which is the accuracy
    of a guess. tlc reads it from the data when a search starts; leave it out."""

    @property
    def outputs(self) -> int:
        """Numbers that models predict of a word: a logit for each tag."""
        return self.classes

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.of_tags(self.classes, self.majority)


class MaskedLanguageModel(BaseTask):
    """Predict masked tokens of running text; scored by their perplexity."""

    name: Literal["masked-lm"]
    encoder: EncoderName = "modernbert"
    """As that of classification."""

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        family = {
            "modernbert": Family.MODERNBERT_MASKED_LM,
            "roberta": Family.ROBERTA_MASKED_LM,
        }[self.encoder]
        return Workload(family, data.vocabulary_size, data.sequence_length)


class CausalLanguageModel(BaseTask):
    """Predict the next token of running text; scored by its perplexity, or by its bits per byte."""

    family = Family.LLAMA
    decodes = True
    starts_from_checkpoints = True

    name: Literal["causal-lm"]

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.perplexity(data.vocabulary_size), metric.bits_per_byte()


class TextGeneration(BaseTask):
    """Read a text and write another one: what translation and summarisation have in common."""

    needs = ("parallel",)
    family = Family.MBART
    decodes = True
    starts_from_checkpoints = True

    beams: Annotated[int, Field(ge=1, le=64)] = 1
    """Beams of the search that decodes; 1 is greedy."""
    bleu_tokenizer: BleuTokenizer | None = None
    """What divides texts into the words of BLEU, by its name in sacreBLEU. Default: that of the
    script of the training targets."""

    @property
    def has_decoder(self) -> bool:
        """Whether its models have a decoder beside the encoder."""
        return True

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        return replace(super().workload_of(data), target_length=data.longest_target)


class Translation(TextGeneration):
    """Translate sentences; scored by BLEU or chrF (sacreBLEU's)."""

    name: Literal["translation"]

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.bleu(), metric.chrf()


class Summarisation(TextGeneration):
    """Write a summary of a document; scored by ROUGE-1, ROUGE-2 or ROUGE-L."""

    name: Literal["summarisation"]

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.rouge("l"), metric.rouge("1"), metric.rouge("2")


class ImageClassification(BaseTask):
    """Classify images."""

    needs = ("images",)
    family = Family.VIT
    starts_from_checkpoints = True

    name: Literal["image-classification"]
    classes: Classes
    """Number of labels in the data."""
    majority: Majority | None = None
    """Fraction of the training examples that are of the most frequent class, which is the accuracy
    of a guess. tlc reads it from the data when a search starts; leave it out."""

    def workload_of(self, data: Data) -> Workload:
        """What its models read and predict."""
        return Workload(
            self.family,
            vocabulary_size=0,
            sequence_length=(data.image_size // data.patch_size) ** 2 + 1,
            classes=self.classes,
            image_size=data.image_size,
            patch_size=data.patch_size,
            channels=data.channels,
        )

    def metrics(self, data: Data) -> tuple[Metric, ...]:
        """The scores that its models can have; the first is the usual one."""
        return metric.of_classes(self.classes, self.majority)


BuiltInTask = Annotated[
    Classification
    | Regression
    | TokenClassification
    | MaskedLanguageModel
    | CausalLanguageModel
    | Translation
    | Summarisation
    | ImageClassification,
    Field(discriminator="name"),
]


def _kind(task: Any) -> str:
    """Whether a task, validated or not, is one of tlc's or of one's own."""
    if not isinstance(task, dict):
        return "own" if isinstance(task, OwnTask) else "tlc"
    name = task.get("name")
    # What another machine opened may be registered there alone.
    is_user = isinstance(name, str) and (is_own(name, METRICS) or task.get("opened") is not None)
    return "own" if is_user else "tlc"


Task = Annotated[
    Annotated[BuiltInTask, Tag("tlc")] | Annotated[OwnTask, Tag("own")], Discriminator(_kind)
]

METRICS: dict[str, MetricName] = {
    "classification": "accuracy",
    "regression": "spearman",
    "token-classification": "f1",
    "masked-lm": "perplexity",
    "causal-lm": "perplexity",
    "translation": "bleu",
    "summarisation": "rouge-l",
    "image-classification": "accuracy",
}
"""The usual metric of each of tlc's tasks, before the task is validated."""

SCORE = "score"
"""In ``objectives``: the metric of the task, whatever it is."""

USUAL_DROPOUT = dict.fromkeys(("translation", "summarisation", "image-classification"), 0.1)
"""``training.dropout`` of tasks by default, where it is not 0."""

FINE_TUNING: dict[str, dict[str, float]] = {
    "classification": {},
    "regression": {"label_smoothing": 0.0},
    "token-classification": {},
}
"""Tasks with fine-tuning, by their names, and the fields of it that have other defaults."""


def named_task(document: dict[str, Any]) -> str:
    """The task that a document names, before it is validated."""
    task = document.get("task")
    name = task.get("name") if isinstance(task, dict) else None
    return name if isinstance(name, str) else ""


def named_metric(document: dict[str, Any]) -> str | None:
    """The metric of the task that a document names, before it is validated; None where the task is
    of one's own and was not opened."""
    task = document.get("task")
    opened = task.get("opened") if isinstance(task, dict) else None
    metric = opened.get("metric") if isinstance(opened, dict) else None
    found = METRICS.get(named_task(document), metric)
    return found if isinstance(found, str) else None


def sources_of(task: Task, *, from_checkpoint: bool) -> tuple[str, ...]:
    """The sources that a task reads: what a checkpoint was pre-trained on is not read again."""
    if from_checkpoint and task.has_fine_tuning:
        return tuple(name for name in task.needs if name != "unlabelled")
    return task.needs


def smoothing_faults(task: Task, training: Training, space: Space) -> list[str]:
    """Label smoothing of a task without classes."""
    name, settings = "fine_tuning.label_smoothing", training.fine_tuning
    given = [*space.training_values.get(name, ()), settings.label_smoothing if settings else 0.0]
    if task.labels == "classes" or not any(given):
        return []
    return [f"training.{name}: task {task.name} has no classes; leave it out"]


def data_faults(task: Task, data: Data, *, from_checkpoint: bool) -> list[str]:
    """Data that a task needs and lacks, or has and does not read."""
    faults = []
    needs = sources_of(task, from_checkpoint=from_checkpoint)
    start = " from a checkpoint" if from_checkpoint else ""
    for field in SOURCE_FIELDS:
        is_given, is_needed = getattr(data, field) is not None, field in needs
        if is_needed and not is_given:
            faults.append(f"data.{field}: is missing; task {task.name}{start} needs it")
        if is_given and not needs:
            faults.append(f"data.{field}: task {task.name} has its own data; leave it out")
        elif is_given and not is_needed:
            needed = ", ".join(f"data.{name}" for name in needs)
            faults.append(
                f"data.{field}: task {task.name}{start} does not read it; it reads {needed}"
            )
    if data.target_length is not None and "parallel" not in needs:
        faults.append(f"data.target_length: task {task.name} has no texts to write; leave it out")
    if "images" in task.needs and data.image_size % data.patch_size:
        faults.append(
            f"data.patch_size: {data.patch_size} does not divide data.image_size, {data.image_size}"
        )
    if "images" in task.needs:
        processor = data.image_processor.faults(data.image_size, data.channels)
        faults += [f"data.image_processor.{fault}" for fault in processor]
    return faults
