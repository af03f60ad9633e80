"""Image classification with a Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.batches import Batch, ImageBatches, image_batch, logits, to_device
from objectives.data import PreparedData
from objectives.paths import TrainingPath
from objectives.stages import Kind, Stages
from objectives.task import Score, accuracy_score
from spaces.configuration import Configuration
from spaces.search_file import SearchFile

DROPOUT = 0.1
CALIBRATION_BATCHES = 4
EVALUATION_BATCH = 64


class ImageClassification:
    """The image classification task.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        self._data = data
        self._stages = Stages(search, data.fingerprint)
        self._train = ImageBatches(data.images("train"), search.training.batch_size, search.seed)
        self.kind = Kind(
            name="image-classification",
            workload=search.workload,
            loss_at=lambda model, step: self.loss(model, self._train(step)),
            validate=self._validate,
            dropout=DROPOUT,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """The stable path and its decay."""
        return self._stages.to_budget(configuration, self.kind)

    def score(self, model: nn.Module, split: str) -> Score:
        """Accuracy and cross-entropy on a split."""
        pictures = self._data.images(split)
        count = len(pictures.labels)
        correct, loss = 0, 0.0
        model.eval()
        with torch.inference_mode():
            for start in range(0, count, EVALUATION_BATCH):
                rows = np.arange(start, min(start + EVALUATION_BATCH, count))
                batch = to_device(image_batch(pictures, rows), model)
                answers = logits(model, batch)
                loss += functional.cross_entropy(answers, batch["labels"], reduction="sum").item()
                correct += int((answers.argmax(-1) == batch["labels"]).sum())
        return accuracy_score(correct, count, loss / count)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the labels."""
        batch = to_device(batch, model)
        return functional.cross_entropy(logits(model, batch).float(), batch["labels"])

    def calibration(self) -> list[Batch]:
        """A few training batches."""
        return [self._train(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Real images."""
        pictures = self._data.images("validation")
        rows = np.arange(batch_size) % len(pictures.labels)
        return {"pixel_values": image_batch(pictures, rows)["pixel_values"]}

    def _validate(self, model: nn.Module) -> dict[str, float]:
        score = self.score(model, "validation")
        return {"score": score.value, "loss": score.loss}
