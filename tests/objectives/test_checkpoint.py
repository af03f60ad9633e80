"""Checkpoints that transformers loads compute what the compressed model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.prune import prune
from objectives.data.batches import Batch, forward_arguments, logits
from objectives.export.checkpoint import Checkpoint, write_checkpoint
from objectives.export.prediction_task import PredictionTask
from objectives.models.build import build
from objectives.predictor.decoding import decode
from objectives.predictor.runtimes import Transformers
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.workload import Family

TASKS = {
    Family.MODERNBERT_CLASSIFIER: "classification",
    Family.MODERNBERT_TOKEN_CLASSIFIER: "token-classification",
    Family.MODERNBERT_MASKED_LM: "masked-lm",
    Family.ROBERTA_CLASSIFIER: "classification",
    Family.ROBERTA_TOKEN_CLASSIFIER: "token-classification",
    Family.ROBERTA_MASKED_LM: "masked-lm",
    Family.LLAMA: "causal-lm",
    Family.MBART: "translation",
    Family.VIT: "image-classification",
}
Q, P = Quantisation, Pruning
WIDTH = 96
"""Groups of 64 do not divide it."""


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return logits(model, batch).square().sum()


class Written:
    """A random model, compressed, and its checkpoint."""

    def __init__(self, family: Family, compression: Compression, folder: Path) -> None:
        torch.manual_seed(0)
        self.workload = WORKLOADS[family]
        spec = ModelSpec(architecture_for(family, 2, WIDTH), self.workload, compression)
        batches = [batch_for(self.workload, count=4, seed=seed) for seed in range(2)]
        pruned = prune(build(spec.architecture.shape, self.workload), spec, batches, loss)
        write_compressed(pruned, spec, batches, folder / "stored")
        self.model: Any = model_file.load(folder / "stored")
        self.stored_bytes = model_file.bytes_on_disk(folder / "stored")
        self.folder = folder / "checkpoint"
        labels = ("a", "b", "c") if self.workload.classes else ()
        task = PredictionTask(TASKS[family], "accuracy", labels, beams=3, sequence_length=16)
        self.checkpoint: Checkpoint = write_checkpoint(
            folder / "stored", self.model, task, self.folder, batches
        )
        self.runtime = Transformers(self.folder, {"name": TASKS[family]})

    def same_logits(self) -> bool:
        """Whether transformers gives exactly the logits of the model."""
        batch = forward_arguments(batch_for(self.workload, count=3, seed=9))
        with torch.inference_mode():
            expected = logits(self.model, batch)
        found = self.runtime.logits({name: tensor.numpy() for name, tensor in batch.items()})
        return torch.equal(torch.from_numpy(found), expected)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", TASKS)
def test_codes_of_a_pruned_model_are_loaded_exactly(family: Family, tmp_path: Path) -> None:
    made = Written(family, Compression(Q.RTN_4, 64, P.STRUCTURED, 0.5), tmp_path)
    assert made.same_logits()
    assert made.checkpoint.weights == "4-bit codes in groups of 32"
    # Only Llama's configuration has a field for the width of a head.
    assert made.checkpoint.padded_heads == (0 if family is Family.LLAMA else 1)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("compression", "weights", "excess"),
    [
        (Compression(), "fp32", 1.01),
        (Compression(Q.BF16), "bf16", 1.01),
        (Compression(Q.RTN_3, 32, P.LAYERS, 0.5), "3-bit codes in groups of 32", 1.3),
        (Compression(Q.RTN_2, 32), "2-bit codes in groups of 32", 1.4),
        (Compression(Q.RTN_6, 32, P.UNSTRUCTURED, 0.2), "6-bit codes in groups of 32", 1.4),
        (Compression(Q.NONE, 32, P.SEMI_STRUCTURED, 0.5), "fp32", 2.5),
        (Compression(Q.HQQ_4), "fp32", 8.0),
    ],
)
def test_every_compression_has_a_checkpoint_of_the_same_logits(
    compression: Compression, weights: str, excess: float, tmp_path: Path
) -> None:
    made = Written(Family.MBART, compression, tmp_path)
    assert made.same_logits()
    assert made.checkpoint.weights == weights
    assert made.checkpoint.comparison.largest_difference == 0.0
    assert made.checkpoint.size_bytes < excess * made.stored_bytes
    modes = {file.stat().st_mode for file in made.folder.iterdir()}
    assert len(modes) == 1


@pytest.mark.usefixtures("one_thread")
def test_beams_without_a_cache_find_what_generate_finds(tmp_path: Path) -> None:
    made = Written(Family.MBART, Compression(), tmp_path)
    batch = batch_for(made.workload, count=6, seed=3)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    generated = made.runtime.generate({name: each.numpy() for name, each in inputs.items()})
    for row, expected in enumerate(generated):
        source = {name: tensor[row : row + 1] for name, tensor in inputs.items()}

        def next_logits(beams: Any, source: Batch = source) -> Any:
            repeated = {name: each.expand(len(beams), -1) for name, each in source.items()}
            with torch.inference_mode():
                decoder = torch.from_numpy(beams)
                return logits(made.model, {**repeated, "decoder_input_ids": decoder})[:, -1].numpy()

        found = decode(next_logits, [0], beams=3, length=16, end=2)
        assert found == [token for token in expected if token != 1]
