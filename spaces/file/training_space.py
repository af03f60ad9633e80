"""Fields of ``training`` as dimensions of the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, model_validator

from spaces.file.dimensions import (
    Fraction,
    Integers,
    NonNegativeNumber,
    PositiveNumber,
    ProperFraction,
    RealNumbers,
    StrictModel,
    Temperature,
    Weight,
    one_value,
)
from spaces.file.training import WITHOUT_EFFECT, Training

PositiveNumbers = Annotated[
    RealNumbers[PositiveNumber],
    BeforeValidator(one_value, json_schema_input_type=PositiveNumber | RealNumbers[PositiveNumber]),
]
Dropouts = Annotated[
    RealNumbers[Fraction],
    BeforeValidator(one_value, json_schema_input_type=Fraction | RealNumbers[Fraction]),
]
Parts = Annotated[
    RealNumbers[ProperFraction],
    BeforeValidator(one_value, json_schema_input_type=ProperFraction | RealNumbers[ProperFraction]),
]
Temperatures = Annotated[
    RealNumbers[Temperature],
    BeforeValidator(one_value, json_schema_input_type=Temperature | RealNumbers[Temperature]),
]
Weights = Annotated[
    RealNumbers[Weight],
    BeforeValidator(one_value, json_schema_input_type=Weight | RealNumbers[Weight]),
]
Decays = Annotated[
    RealNumbers[NonNegativeNumber],
    BeforeValidator(
        one_value, json_schema_input_type=NonNegativeNumber | RealNumbers[NonNegativeNumber]
    ),
]

_COUNTED = "changes the steps of fine-tuning, which plans count"


class _Section(StrictModel):
    """Fields of a section of ``training``, each with the values that are searched."""

    refused: ClassVar[dict[str, str]] = {}
    """Fields of the section that cannot be searched, and why."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_searched(cls, document: Any) -> Any:
        if isinstance(document, dict):
            for name, reason in cls.refused.items():
                if name in document:
                    allowed = ", ".join(cls.model_fields)
                    raise ValueError(f"{name} cannot be searched: it {reason}; allowed: {allowed}")
        return document

    def values(self) -> dict[str, tuple[float, ...]]:
        """The values of each field that is searched, by its name, such as
        ``fine_tuning.dropout``."""
        found: dict[str, tuple[float, ...]] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, _Section):
                found |= {f"{name}.{inner}": values for inner, values in field.values().items()}
            elif field is not None:
                found[name] = field.values
        return found


class FineTuningSpace(_Section):
    """Fields of ``training.fine_tuning``, each with the values that are searched."""

    refused: ClassVar[dict[str, str]] = {
        "epochs": _COUNTED,
        "held_out": _COUNTED,
        "r_drop": "changes the cost of a step, which budgets count",
    }

    learning_rate: PositiveNumbers | None = None
    """Peak AdamW learning rates."""
    dropout: Dropouts | None = None
    """Dropouts of embeddings, attention, layers and the classifier."""
    label_smoothing: Dropouts | None = None
    """Parts of the target that go to all labels alike."""
    token_dropout: Dropouts | None = None
    """Probabilities with which a token of a training text is replaced."""
    patience: Integers | None = None
    """Epochs without a better held-out accuracy."""


class DistillationSpace(_Section):
    """Fields of ``training.distillation``, each with the values that are searched."""

    temperature: Temperatures | None = None
    """Temperatures of the logits."""
    weight: Weights | None = None
    """Parts of the loss that are the divergence from the teacher."""


SECTIONS: dict[str, type[_Section]] = {
    "fine_tuning": FineTuningSpace,
    "distillation": DistillationSpace,
}
"""Fields of ``TrainingSpace`` that have fields of their own."""


class TrainingSpace(_Section):
    """Fields of ``training``, each with the values that are searched in place of the one there."""

    refused: ClassVar[dict[str, str]] = {
        "batch_size": "changes what a step of the budget is",
        "recovery_learning_rate": "trains what is trained already and shares its model",
        "recovery_distillation": "trains what is trained already and shares its model",
        "recovery_start": "trains what is trained already and shares its model",
        **dict.fromkeys(WITHOUT_EFFECT, "changes no result"),
    }

    learning_rate: PositiveNumbers | None = None
    """Peak AdamW learning rates of a model of width 128 and depth 2."""
    warmup_fraction: Parts | None = None
    """Fractions of the smallest budget in which the learning rate rises."""
    decay_fraction: Parts | None = None
    """Fractions of the budget in which the learning rate falls; they share one stable path."""
    weight_decay: Decays | None = None
    """Decoupled weight decays of the matrices."""
    dropout: Dropouts | None = None
    """Dropouts of embeddings, attention and layers while the budget is spent."""
    gradient_clip: PositiveNumbers | None = None
    """Largest norms of the gradient."""
    fine_tuning: FineTuningSpace | None = None
    """Of fine-tuning after the budget; they share one pre-trained model."""
    distillation: DistillationSpace | None = None
    """Of distillation."""

    def faults(self, training: Training) -> Iterator[str]:
        """What does not suit the other fields of ``training``, or one another."""
        missing = False
        for name, reason in (
            ("fine_tuning", "this search has no fine-tuning after its budget"),
            ("distillation", "this search has no training.distillation"),
        ):
            if getattr(self, name) is not None and getattr(training, name) is None:
                missing = True
                yield f"space.training.{name}: {reason}; leave it out"
        if missing:
            return
        known = training.faults()
        # What contradicts each other: two fractions that are too large, or two dropouts of zero.
        for end in (min, max):
            values = {name: end(each) for name, each in self.values().items()}
            text = ", ".join(f"{name} {value:g}" for name, value in values.items())
            for fault in training.with_values(values).faults():
                if fault not in known:
                    yield f"space.training: with {text}: {fault}"


def searchable_values(training: Training) -> dict[str, float]:
    """The values of the fields of ``training`` that can be searched, by name, such as
    ``fine_tuning.dropout``."""
    return dict(_values(TrainingSpace, training, ""))


def _values(section: type[_Section], given: Any, prefix: str) -> Iterator[tuple[str, float]]:
    for name in section.model_fields:
        value = getattr(given, name)
        if name in SECTIONS:
            if value is not None:
                yield from _values(SECTIONS[name], value, f"{name}.")
        else:
            yield f"{prefix}{name}", float(value)
