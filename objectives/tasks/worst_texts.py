"""What a model that writes texts, or predicts their words, does worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from objectives.data.encoding import load_tokenizer
from objectives.measurement.scores.texts import score_of_each
from objectives.tasks.causal_lm import CausalLanguageModel
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.tasks.text_generation import TextGeneration


@dataclass(frozen=True)
class WorstText:
    """A text that a model does badly.

    Args:
        score: Of this text alone, by ``WorstTexts.measure``.
        expected: What a person wrote; the passage that a language model predicts.
        input: What the model reads; empty for a language model.
        written: What it writes of that; empty for a language model.
    """

    score: float
    expected: str
    input: str = ""
    written: str = ""


@dataclass(frozen=True)
class WorstTexts:
    """The texts that a model does worst on a split.

    Args:
        split: The split.
        texts: Those that were scored.
        measure: What each is scored by.
        middle: Median of the scores.
        worst: The worst first.
    """

    split: str
    texts: int
    measure: str
    middle: float
    worst: list[WorstText]


def worst_answers(task: TextGeneration, model: nn.Module, split: str, most: int) -> WorstTexts:
    """Find the texts of which a model writes the worst translations or summaries.

    Args:
        task: The task, with its data.
        most: Texts to list.
    """
    written = task.answers(model, split).texts
    expected, inputs = task.prepared.references(split), task.read_texts(split)
    metric, scores = score_of_each(written, expected, task.metric_name)
    order = np.argsort(scores, kind="stable")[:most]
    worst = [WorstText(scores[row], expected[row], inputs[row], written[row]) for row in order]
    return WorstTexts(split, len(scores), metric, float(np.median(scores)), worst)


def worst_passages(
    task: CausalLanguageModel | MaskedLanguageModel, model: nn.Module, split: str, most: int
) -> WorstTexts:
    """Find the passages that a language model predicts worst.

    Args:
        task: The task, with its data.
        most: Passages to list.
    """
    passages = sorted(task.passages(model, split), key=lambda each: -each.loss)
    tokenizer = load_tokenizer(task.prepared.tokenizer_file)
    worst = [WorstText(each.loss, tokenizer.decode(each.tokens)) for each in passages[:most]]
    middle = float(np.median([each.loss for each in passages]))
    return WorstTexts(split, len(passages), "loss per token, in nats", middle, worst)
