"""Pre-train a masked language model, then fine-tune it to classify: the path of Li et al. 2020."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from torch import nn
from torch.nn import functional

from objectives.batches import Batch, LabelledBatches, MaskedBatches, in_order
from objectives.data import PreparedData
from objectives.model import build_classifier, build_masked_lm
from objectives.paths import STABLE, TrainingPath
from objectives.schedule import Decay, LearningRate, WarmupDecay, WarmupStable
from objectives.task import Score
from objectives.training import Optimisation, precision_for
from spaces.budget import TrainingSteps
from spaces.configuration import Configuration, content_hash
from spaces.search_file import SearchFile

FORMAT = 1
"""Raised when the same inputs would train other weights."""

DROPOUT = 0.1
"""Of fine-tuning. Pre-training sees each text about once and needs none."""

CALIBRATION_BATCHES = 4
EVALUATION_BATCH = 64
VALIDATION_BATCHES = 4


class Classification:
    """The classification task.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._search = search
        self._data = data
        self._training = search.training
        self._masked = {
            split: MaskedBatches(
                stream=data.stream(split),
                sequence_length=search.data.sequence_length,
                batch_size=search.training.batch_size,
                vocabulary_size=search.data.vocabulary_size,
                seed=search.seed,
            )
            for split in ("train", "validation")
        }
        self._labelled = LabelledBatches(
            data.labelled("train"), search.training.batch_size, search.seed
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """Stable pre-training, its decay, and fine-tuning."""
        return self._fine_tuning(configuration, self._decay(configuration))

    def _stable(self, configuration: Configuration) -> TrainingPath:
        training = self._training
        key = content_hash(
            {
                "format": FORMAT,
                "task": "masked language model",
                "data": self._data.fingerprint,
                "architecture": asdict(configuration.architecture),
                "sequence_length": self._search.data.sequence_length,
                "vocabulary_size": self._search.data.vocabulary_size,
                "batch_size": training.batch_size,
                "learning_rate": training.learning_rate,
                "warmup_steps": training.warmup_steps,
                "weight_decay": training.weight_decay,
                "gradient_clip": training.gradient_clip,
                "precision": precision_for(configuration.architecture.width),
                "seed": configuration.seed,
            }
        )
        workload = self._search.workload
        return TrainingPath(
            name=STABLE,
            key=key,
            length=self._steps(configuration).stable,
            architecture=configuration.architecture,
            seed=configuration.seed,
            build=lambda: build_masked_lm(configuration.architecture, workload),
            adopt=None,
            loss_at=lambda model, step: _masked_loss(model, self._masked["train"](step)),
            optimisation=self._optimisation(
                configuration, training.learning_rate, WarmupStable(training.warmup_steps)
            ),
            can_continue=True,
            milestones=self._stable_ends(configuration),
        )

    def _stable_ends(self, configuration: Configuration) -> tuple[int, ...]:
        """Where the budgets of the space leave the stable path of an architecture."""
        budgets = self._search.space.budget.values
        return tuple(self._steps(replace(configuration, budget=b)).stable for b in budgets)

    def _decay(self, configuration: Configuration) -> TrainingPath:
        stable = self._stable(configuration)
        steps = self._steps(configuration).decay
        return replace(
            stable,
            name="decay",
            key=content_hash({"decay": steps, "after": stable.length, "of": stable.key}),
            length=steps,
            loss_at=lambda model, step: _masked_loss(
                model, self._masked["train"](stable.length + step)
            ),
            optimisation=self._optimisation(
                configuration, self._training.learning_rate, Decay(steps)
            ),
            parent=stable,
            can_continue=False,
            milestones=(),
            validate=self._masked_validation,
        )

    def _fine_tuning(self, configuration: Configuration, decay: TrainingPath) -> TrainingPath:
        training = self._training
        steps = self._steps(configuration).fine_tuning
        key = content_hash(
            {
                "fine_tuning": steps,
                "learning_rate": training.fine_tuning_learning_rate,
                "classes": self._search.task.classes,
                "dropout": DROPOUT,
                "of": decay.key,
            }
        )
        workload = self._search.workload
        return TrainingPath(
            name="fine-tuning",
            key=key,
            length=steps,
            architecture=configuration.architecture,
            seed=configuration.seed,
            build=lambda: build_classifier(configuration.architecture, workload, dropout=DROPOUT),
            adopt=_adopt_encoder,
            loss_at=lambda model, step: _classification_loss(model, self._labelled(step)),
            optimisation=self._optimisation(
                configuration, training.fine_tuning_learning_rate, WarmupDecay(steps)
            ),
            parent=decay,
            validate=self._validation,
        )

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy of a classifier on a split."""
        correct, loss, examples = 0, 0.0, 0
        model.eval()
        with torch.inference_mode():
            for batch in in_order(self._data.labelled(split), EVALUATION_BATCH):
                batch = _to_device(batch, model)
                logits = _logits(model, batch)
                loss += functional.cross_entropy(logits, batch["labels"], reduction="sum").item()
                correct += int((logits.argmax(-1) == batch["labels"]).sum())
                examples += len(batch["labels"])
        return Score(correct, examples, loss / examples)

    def calibration(self) -> list[Batch]:
        """A few fine-tuning batches, all of one shape."""
        return [self._labelled.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> torch.Tensor:
        """Real pre-training text of full length."""
        batches = replace(self._masked["validation"], batch_size=batch_size)
        return batches(0)["input_ids"]

    def _masked_validation(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        with torch.inference_mode():
            losses = [
                _masked_loss(model, self._masked["validation"](step)).item()
                for step in range(VALIDATION_BATCHES)
            ]
        return {"loss": sum(losses) / len(losses)}

    def _validation(self, model: nn.Module) -> dict[str, float]:
        score = self.score(model, "validation")
        return {"accuracy": score.accuracy, "loss": score.loss}

    def _steps(self, configuration: Configuration) -> TrainingSteps:
        return self._search.schedule.steps(
            configuration.budget, configuration.architecture, self._search.workload
        )

    def _optimisation(
        self, configuration: Configuration, peak: float, rate: LearningRate
    ) -> Optimisation:
        return Optimisation(
            peak=peak,
            rate=rate,
            weight_decay=self._training.weight_decay,
            gradient_clip=self._training.gradient_clip,
            precision=precision_for(configuration.architecture.width),
        )


def _masked_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    batch = _to_device(batch, model)
    hidden = model.get_submodule("roberta")(batch["input_ids"]).last_hidden_state
    # Only the masked positions go through the vocabulary head, which would dominate small models.
    logits = model.get_submodule("lm_head")(hidden.flatten(0, 1)[batch["positions"]])
    return functional.cross_entropy(logits.float(), batch["targets"])


def _classification_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    batch = _to_device(batch, model)
    return functional.cross_entropy(_logits(model, batch).float(), batch["labels"])


def _logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    return logits


def _adopt_encoder(pretrained: nn.Module, classifier: nn.Module) -> None:
    classifier.get_submodule("roberta").load_state_dict(
        pretrained.get_submodule("roberta").state_dict()
    )


def _to_device(batch: Batch, model: nn.Module) -> Batch:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}
