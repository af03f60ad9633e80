"""Translation with an encoder and a decoder (Vaswani et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    SentencePairBatches,
    logits,
    sentence_pair_batch,
    to_device,
)
from objectives.data.prepared_data import PreparedData
from objectives.data.row_order import rows_by_length
from objectives.data.tokenizer import END, PAD, load_tokenizer
from objectives.measurement.score import Score
from objectives.models.decoding import translate
from objectives.store import heartbeat
from objectives.tasks.base import CALIBRATION_BATCHES, Task
from objectives.training.learning_problem import LearningProblem
from objectives.training.stages import Stages
from spaces.cost.workload import Workload

DROPOUT = 0.1
LABEL_SMOOTHING = 0.1
"""Of the training loss alone (Vaswani et al. 2017, section 5.4)."""

BOOTSTRAP_SAMPLES = 300


class Translation(Task):
    """The translation task.

    Args:
        data: The prepared data.
        stages: Makes the stages of training.
        workload: Inputs and outputs of the models.
        batch_size: Examples in a training batch.
        seed: Of the order of the data.
        beams: Of beam search, with which the score decodes; 1 is greedy.
    """

    def __init__(
        self,
        data: PreparedData,
        stages: Stages,
        workload: Workload,
        *,
        batch_size: int,
        seed: int,
        beams: int,
    ) -> None:
        self._data = data
        self._sequence_length = workload.sequence_length
        self._beams = beams
        self._tokenizer = load_tokenizer(data.tokenizer_file)
        self._train = SentencePairBatches(data.sentence_pairs("train"), batch_size, seed)
        problem = LearningProblem(
            name="translation",
            workload=workload,
            batches=self._train,
            loss=self.loss,
            score=self.score,
            scored_by={"beams": beams},
            dropout=DROPOUT,
            terms=_target_tokens,
        )
        super().__init__(problem, stages)

    def score(self, model: nn.Module, split: str) -> Score:
        """BLEU of the decoded translations of a split, with a bootstrap interval (Koehn 2004)."""
        pairs = self._data.sentence_pairs(split)
        references = self._data.references(split)
        texts = [""] * len(references)
        loss, tokens = 0.0, 0
        model.eval()
        with torch.inference_mode():
            for rows in rows_by_length(pairs.source_lengths, EVALUATION_BATCH_SIZE):
                heartbeat.beat("scoring")
                batch = to_device(sentence_pair_batch(pairs, rows), model)
                summed = _cross_entropy(model, batch, reduction="sum")
                loss += summed.item()
                tokens += _target_tokens(batch)
                decoded = translate(
                    model,
                    batch,
                    self._tokenizer,
                    beams=self._beams,
                    sequence_length=self._sequence_length,
                )
                for row, text in zip(rows, decoded, strict=True):
                    texts[row] = text
        low, value, high = _bleu(texts, references)
        return Score(value, low, high, len(references), loss / tokens)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next tokens of the translation, with label smoothing."""
        return _cross_entropy(
            model, to_device(batch, model), reduction="mean", smoothing=LABEL_SMOOTHING
        )

    def calibration(self) -> list[Batch]:
        """Training batches, padded to full length."""
        return [self._train.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Tokens of full length on both sides: one pass of the encoder and the decoder."""
        length = self._sequence_length
        stream = self._data.sentence_pairs("validation")
        words = np.concatenate([stream.sources[stream.sources > END], np.arange(END + 1, length)])
        tokens = torch.from_numpy(np.resize(words, (batch_size, length)).astype(np.int64))
        return {"input_ids": tokens, "decoder_input_ids": tokens}


def _target_tokens(batch: Batch) -> int:
    return int((batch["targets"] != PAD).sum())


def _cross_entropy(
    model: nn.Module, batch: Batch, *, reduction: str, smoothing: float = 0.0
) -> torch.Tensor:
    outputs = logits(model, batch).float()
    return functional.cross_entropy(
        outputs.flatten(0, 1),
        batch["targets"].flatten(),
        ignore_index=PAD,
        reduction=reduction,
        label_smoothing=smoothing,
    )


def _bleu(texts: list[str], references: list[str]) -> tuple[float, float, float]:
    """Lower end, value and upper end of sacreBLEU's default BLEU (Post 2018, arXiv 1804.08771)."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    result = metric.corpus_score(texts, [references], n_bootstrap=BOOTSTRAP_SAMPLES)
    half = float(result._ci)
    value = min(100.0, float(result.score))
    return max(0.0, value - half), value, min(100.0, value + half)
