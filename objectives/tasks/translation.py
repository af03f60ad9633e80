"""Translation with an encoder and a decoder (Vaswani et al. 2017): the paper's second pillar."""

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
from objectives.tasks.base import CALIBRATION_BATCHES
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

DROPOUT = 0.1
LABEL_SMOOTHING = 0.1
"""Of the training loss alone (Vaswani et al. 2017, section 5.4)."""

BOOTSTRAP_SAMPLES = 300
GREEDY = 1
"""Beams: the default."""


class Translation:
    """The translation task.

    Args:
        search: The search file.
        data: Its prepared data.
    """

    def __init__(self, search: SearchFile, data: PreparedData) -> None:
        assert search.task.name == "translation"
        self._search = search
        self._data = data
        self._beams = search.task.beams
        self._stages = Stages(search, data.fingerprint)
        self._tokenizer = load_tokenizer(data.tokenizer_file)
        self._train = SentencePairBatches(
            data.sentence_pairs("train"), search.training.batch_size, search.seed
        )
        self.problem = LearningProblem(
            name="translation",
            workload=search.workload,
            batches=self._train,
            loss=self.loss,
            score=self.score,
            scored_by={} if self._beams == GREEDY else {"beams": self._beams},
            dropout=DROPOUT,
            terms=_written_tokens,
        )

    def path(self, configuration: Configuration) -> TrainingPath:
        """The stable path and its decay."""
        return self._stages.stable_and_decay(configuration, self.problem)

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
                tokens += _written_tokens(batch)
                written = translate(
                    model,
                    batch,
                    self._tokenizer,
                    beams=self._beams,
                    sequence_length=self._search.data.sequence_length,
                )
                for row, text in zip(rows, written, strict=True):
                    texts[row] = text
        low, value, high = _bleu(texts, references)
        return Score(value, low, high, len(references), loss / tokens)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Smoothed cross-entropy of the translation's next tokens."""
        return _cross_entropy(
            model, to_device(batch, model), reduction="mean", smoothing=LABEL_SMOOTHING
        )

    def calibration(self) -> list[Batch]:
        """A few training batches."""
        return [self._train.full_length(step) for step in range(CALIBRATION_BATCHES)]

    def latency_input(self, batch_size: int) -> Batch:
        """Tokens of full length on both sides: one pass of the encoder and the decoder."""
        length = self._search.data.sequence_length
        stream = self._data.sentence_pairs("validation")
        words = np.concatenate([stream.sources[stream.sources > END], np.arange(END + 1, length)])
        tokens = torch.from_numpy(np.resize(words, (batch_size, length)).astype(np.int64))
        return {"input_ids": tokens, "decoder_input_ids": tokens}


def _written_tokens(batch: Batch) -> int:
    return int((batch["targets"] != PAD).sum())


def _cross_entropy(
    model: nn.Module, batch: Batch, *, reduction: str, smoothing: float = 0.0
) -> torch.Tensor:
    answers = logits(model, batch).float()
    return functional.cross_entropy(
        answers.flatten(0, 1),
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
