"""A search whose trials are trained by the ``Trainer`` of transformers, on a model of your own.

``python examples/trainer.py`` runs it; a second run resumes it. It needs no network.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import tlc

SEARCH = {
    "name": "trainer",
    "space": {
        "width": {"low": 16, "high": 64, "log": True},
        "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True, "count": 5},
        "activation": {"choices": ["relu", "tanh"]},
    },
    "objectives": {"accuracy": "maximize", "size_mb": "minimize"},
    "constraints": {"max_size_mb": 0.02},
    "trials": 6,
}


class Perceptron(nn.Module):
    """One hidden layer that tells whether a point is inside a circle."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        between = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]()
        self.layers = nn.Sequential(nn.Linear(2, width), between, nn.Linear(width, 2))

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss, as the Trainer takes it, and the logits, ``(batch, 2)``."""
        logits = self.layers(inputs)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def points(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Points of a square, labelled by whether they are inside a circle."""
    inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    labels = (inputs.norm(dim=1) < 1.2).long()
    return [{"inputs": x, "labels": y} for x, y in TensorDataset(inputs, labels)]


def train(trial: tlc.Trial) -> dict[str, float]:
    """Train one model; after a kill the Trainer continues from its last checkpoint."""
    trainer = Trainer(
        model=Perceptron(trial.width, trial.activation),
        args=TrainingArguments(
            output_dir=str(trial.folder),
            learning_rate=trial.learning_rate,
            per_device_train_batch_size=32,
            max_steps=60,
            save_steps=30,
            seed=trial.seed,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=points(500, seed=0),
        eval_dataset=points(500, seed=1),
        compute_metrics=lambda p: {"accuracy": (p.predictions.argmax(1) == p.label_ids).mean()},
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(trial.folder))
    return {"accuracy": trainer.evaluate()["eval_accuracy"]}


def size(values: dict[str, int]) -> dict[str, float]:
    """Megabytes of a model, which are known before it is trained."""
    return {"size_mb": 4 * (5 * values["width"] + 2) / 1e6}


if __name__ == "__main__":
    results = tlc.run(SEARCH, objective=train, cost=size)
    print(results.frontier()[["width", "learning_rate", "activation", "accuracy", "size_mb"]])
    print(results.best(max_size_mb=0.001))
