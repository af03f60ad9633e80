"""Masked-language-model pre-training, then fine-tuning on labelled texts (Li et al. 2020)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from objectives.data.batches import (
    Batch,
    BucketedBatches,
    labelled_text_batch,
    logits,
    to_device,
)
from objectives.data.held_out import check_fine_tuning, hold_out
from objectives.data.row_order import Rows
from objectives.data.token_dropout import drop_tokens
from objectives.measurement.score import logits_of
from objectives.tasks.labelled.texts import OnLabelledTexts
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.training.early_stopping import EarlyStopping
from objectives.training.path import FINE_TUNING, Epoch, TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.flops import pretraining_workload
from spaces.file.training import FineTuning

MASKED_LM: Literal["masked-lm"] = "masked-lm"
SECOND_VIEW = "second_input_ids"
"""Of a batch: the token ids of the same texts, with other tokens dropped."""


class FineTunedTexts(OnLabelledTexts):
    """A task whose models are pre-trained, and then fine-tuned on labelled texts."""

    def check(self) -> None:
        """Refuse too few examples for the fine-tuning.

        Raises:
            DataError: There are too few.
        """
        check_fine_tuning(self.fine_tuning, len(self.train_examples.labels), self.batch_size)

    @property
    def fine_tuning(self) -> FineTuning:
        """How the pre-trained model is trained further."""
        settings = self.context.training.fine_tuning
        assert settings is not None
        return settings

    @property
    def dropout(self) -> float:
        """That of fine-tuning; pre-training has that of the search."""
        return self.fine_tuning.dropout

    @property
    def passes(self) -> int:
        """Two with R-Drop."""
        return self.fine_tuning.passes

    @cached_property
    def pretraining(self) -> MaskedLanguageModel:
        """The task that pre-training solves."""
        workload = pretraining_workload(self.workload)
        context = replace(self.context, name=MASKED_LM, workload=workload, metric="perplexity")
        return MaskedLanguageModel(name=MASKED_LM, encoder=self.encoder).bound(context)

    def path(self, configuration: Configuration) -> TrainingPath:
        """Stable pre-training, its decay, and fine-tuning; with early stopping where it can be."""
        settings = self.fine_tuning
        epoch_steps = settings.epoch_steps(len(self.train_examples.labels), self.batch_size)
        path = self.stages.next_stage(
            self.pretraining.path(configuration),
            configuration.with_compression(Compression()),
            self,
            name=FINE_TUNING,
            steps=settings.epochs * epoch_steps,
            learning_rate=settings.learning_rate,
            transfer_weights=_transfer_encoder,
            identity={
                "epochs": settings.epochs,
                "patience": settings.patience,
                "held_out": settings.held_out,
                "label_smoothing": settings.label_smoothing,
                "token_dropout": settings.token_dropout,
                "r_drop": settings.r_drop,
            },
        )
        if settings.held_out == 0.0:
            return path
        stopping = EarlyStopping(epoch_steps, settings.patience, self.held_out_figures)
        return replace(path, early_stopping=stopping)

    @cached_property
    def _train_rows(self) -> tuple[Rows, Rows]:
        """Rows of the training split that are trained on, and those that are held out."""
        examples = self.train_examples
        count = self.fine_tuning.held_out_examples(len(examples.labels))
        return hold_out(examples, count, self.seed)

    def timed_path(self, architecture: Architecture) -> TrainingPath:
        """That of pre-training, which the budget is spent on."""
        return self.pretraining.timed_path(architecture)

    @cached_property
    def train_batches(self) -> BucketedBatches:
        """Batches of the training examples that are not held out."""
        trained, _ = self._train_rows
        return BucketedBatches(
            labelled_text_batch, self.train_examples, self.batch_size, self.seed, trained
        )

    @cached_property
    def epoch(self) -> Epoch:
        """The training examples that are not held out."""
        trained, _ = self._train_rows
        return Epoch(len(trained), int(self.train_examples.lengths[trained].sum()))

    def batch(self, step: int) -> Batch:
        """The training batch of a step with token dropout; with R-Drop, a second view of it."""
        settings, batch = self.fine_tuning, self.train_batches(step)
        names = ("input_ids", SECOND_VIEW) if settings.r_drop else ("input_ids",)
        views = {
            name: drop_tokens(
                batch["input_ids"], settings.token_dropout, seed=self.seed, step=step, view=view
            )
            for view, name in enumerate(names)
        }
        return {**batch, **views}

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of the labels.

        Of batches with two views it is the mean of both, and R-Drop adds their divergence.
        """
        settings, batch = self.fine_tuning, to_device(batch, model)
        views = _views(batch)
        outputs = logits(model, views).float()
        loss = self.label_loss(outputs, views["labels"], settings.label_smoothing)
        if SECOND_VIEW not in batch:
            return loss
        first, second = outputs.chunk(2)
        return loss + settings.r_drop * self.divergence(first, second, batch["labels"])

    def held_out_figures(self, model: nn.Module) -> dict[str, float]:
        """The loss and the score of a model on the examples that are held out of training; more of
        the score is better."""
        _, held_out = self._train_rows
        score = self.score_rows(logits_of(model), self.train_examples, held_out)
        return {"loss": score.loss, "score": score.value}

    def latency_input(self, batch_size: int) -> Batch:
        """Real pre-training text of full length."""
        return self.pretraining.latency_input(batch_size)


def _views(batch: Batch) -> Batch:
    """A batch whose rows are all first views and then, where there are any, all second views."""
    if SECOND_VIEW not in batch:
        return batch
    return {
        "input_ids": torch.cat((batch["input_ids"], batch[SECOND_VIEW])),
        "attention_mask": batch["attention_mask"].repeat(2, 1),
        "labels": torch.cat((batch["labels"], batch["labels"])),
    }


def _transfer_encoder(pretrained: Any, classifier: Any) -> None:
    classifier.base_model.load_state_dict(pretrained.base_model.state_dict())
