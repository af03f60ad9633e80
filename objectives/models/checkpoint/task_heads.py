"""What a task needs of a checkpoint: the classes of transformers that it can start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from objectives.models.checkpoint.errors import CheckpointError


@dataclass(frozen=True)
class TaskHead:
    """What a task needs of a checkpoint.

    Args:
        task: Its name.
        auto_class_name: The Auto class of transformers that builds its models.
        mapping_name: The names of the models that this class has.
        endings: How the names of classes end whose checkpoints the task can start from.
        is_new: Whether the head may be trained from random weights.
        needed_tokens: The special tokens that its data is made with.
        has_decoder: Whether its models have a decoder beside the encoder.
    """

    task: str
    auto_class_name: str
    mapping_name: str
    endings: tuple[str, ...]
    is_new: bool
    needed_tokens: tuple[str, ...]
    has_decoder: bool = False

    def auto_class(self) -> Any:
        """The Auto class."""
        import transformers

        return getattr(transformers, self.auto_class_name)

    def check(self, name: str, config: Any, architectures: Any) -> None:
        """Refuse a model that has no class for the task, or has another task's head.

        Args:
            name: As the search file spells the checkpoint.
            config: Its configuration.
            architectures: The classes that its file names.

        Raises:
            CheckpointError: It is one.
        """
        from transformers.models.auto import modeling_auto

        if config.model_type not in getattr(modeling_auto, self.mapping_name):
            raise CheckpointError(
                name,
                f"transformers has no {self.auto_class_name} of type {config.model_type!r}, which "
                f"task {self.task} needs",
            )
        for architecture in architectures if isinstance(architectures, list) else []:
            if not str(architecture).endswith(self.endings):
                raise CheckpointError(
                    name,
                    f"it is a {architecture}, with the head of another task; task {self.task} "
                    f"starts from {', '.join(f'…{ending}' for ending in self.endings)}",
                )


def _of_labels(task: str) -> TaskHead:
    """That of a task whose models read a text and predict its label."""
    return TaskHead(
        task,
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification"),
        is_new=True,
        needed_tokens=("start", "pad", "end"),
    )


def _of_texts(task: str) -> TaskHead:
    """That of a task whose models read a text and write another one."""
    return TaskHead(
        task,
        "AutoModelForSeq2SeqLM",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        ("Model", "ForConditionalGeneration"),
        is_new=False,
        needed_tokens=("pad", "end"),
        has_decoder=True,
    )


HEADS = {
    "classification": _of_labels("classification"),
    "regression": _of_labels("regression"),
    "token-classification": TaskHead(
        "token-classification",
        "AutoModelForTokenClassification",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
        ("Model", "ForMaskedLM", "ForPreTraining", "ForTokenClassification"),
        is_new=True,
        needed_tokens=("start", "pad", "end"),
    ),
    "image-classification": TaskHead(
        "image-classification",
        "AutoModelForImageClassification",
        "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
        ("Model", "ForMaskedImageModeling", "ForPreTraining", "ForImageClassification"),
        is_new=True,
        needed_tokens=(),
    ),
    "causal-lm": TaskHead(
        "causal-lm",
        "AutoModelForCausalLM",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        ("ForCausalLM", "LMHeadModel"),
        is_new=False,
        needed_tokens=("end",),
    ),
    "translation": _of_texts("translation"),
    "summarisation": _of_texts("summarisation"),
}
"""By the name of the task."""
