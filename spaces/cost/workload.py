"""What the models of a search read and predict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

POSITION_OFFSET = 2
"""RoBERTa and MBart number positions from their padding index + 1, so two rows are never read."""


MASKED_FRACTION = 0.3
"""Fraction of tokens that masked language modelling predicts: ModernBERT's. More than BERT's 0.15
learns more from each sequence (Wettig et al. 2022, arXiv 2202.08005)."""


def masked_tokens(sequence_length: int) -> int:
    """Tokens of one sequence that are predicted, at least one."""
    return max(1, round(MASKED_FRACTION * sequence_length))


class Family(StrEnum):
    """Families of models, named after their class in transformers.

    All have pre-norm layers (Xiong et al. 2020, arXiv 2002.04745) but RoBERTa's own. ``CHECKPOINT``
    stands for any that a checkpoint of transformers is of, ``OWN`` for that of a user's own task.
    """

    MODERNBERT_CLASSIFIER = "modernbert-classifier"
    MODERNBERT_TOKEN_CLASSIFIER = "modernbert-token-classifier"
    MODERNBERT_MASKED_LM = "modernbert-masked-lm"
    ROBERTA_CLASSIFIER = "roberta-classifier"
    ROBERTA_TOKEN_CLASSIFIER = "roberta-token-classifier"
    ROBERTA_MASKED_LM = "roberta-masked-lm"
    LLAMA = "llama"
    MBART = "mbart"
    VIT = "vit"
    CHECKPOINT = "checkpoint"
    OWN = "own"

    @property
    def pretrained(self) -> Family:
        """Family of the models of the stable path: classifiers of texts and of their words
        pre-train as masked language models; all others train on their task."""
        return {
            Family.MODERNBERT_CLASSIFIER: Family.MODERNBERT_MASKED_LM,
            Family.MODERNBERT_TOKEN_CLASSIFIER: Family.MODERNBERT_MASKED_LM,
            Family.ROBERTA_CLASSIFIER: Family.ROBERTA_MASKED_LM,
            Family.ROBERTA_TOKEN_CLASSIFIER: Family.ROBERTA_MASKED_LM,
        }.get(self, self)

    @property
    def is_classifier_of_text(self) -> bool:
        """Whether its models classify texts, or each of their tokens."""
        return self.pretrained is not self

    @property
    def is_masked_lm(self) -> bool:
        """Whether its models predict masked tokens, and in training only these."""
        return self in (Family.MODERNBERT_MASKED_LM, Family.ROBERTA_MASKED_LM)

    @property
    def has_rotary_positions(self) -> bool:
        """Whether attention rotates pairs of channels, so that a head has an even number."""
        return self is Family.LLAMA or self.pretrained is Family.MODERNBERT_MASKED_LM

    @property
    def activation(self) -> str:
        """Activation of its feed-forward blocks, as its configuration in transformers has it; empty
        where it is that of a checkpoint or of a user's own model."""
        if self in (Family.CHECKPOINT, Family.OWN):
            return ""
        return "silu" if self is Family.LLAMA else "gelu"

    @property
    def has_decoder(self) -> bool:
        """Whether its models have a decoder beside the encoder."""
        return self is Family.MBART


@dataclass(frozen=True, slots=True)
class Workload:
    """Inputs and outputs of every model of a search.

    Args:
        family: Family of the models.
        vocabulary_size: Rows of the token embedding; 0 for images.
        sequence_length: Longest input in tokens; for images, patches and the class token.
        classes: Classes of a classifier; 0 for language models.
        image_size: Height and width of images in pixels.
        patch_size: Height and width of a patch in pixels.
        checkpoint: What the models are cut from, as ``Checkpoint.to_json`` writes it; empty where
            they start from random weights.
        own: How the models of a user's own task are made, as ``OwnModel.to_json`` writes it; empty
            for those of tlc.
        target_length: Longest text that a decoder writes, in tokens; 0 where it is as long as the
            input, or where there is no decoder.
    """

    family: Family
    vocabulary_size: int
    sequence_length: int
    classes: int = 0
    image_size: int = 0
    patch_size: int = 0
    channels: int = 0
    checkpoint: str = ""
    own: str = ""
    target_length: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, of an encoder or of a decoder."""
        return max(self.sequence_length, self.target_length)

    @property
    def positions(self) -> int:
        """Rows of the position embedding of models that have one."""
        return self.longest + (POSITION_OFFSET if self.vocabulary_size else 0)

    @property
    def outputs(self) -> int:
        """Logits of one output position."""
        return self.classes or self.vocabulary_size
