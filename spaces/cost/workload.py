"""What the models of a search read and predict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

POSITION_OFFSET = 2
"""RoBERTa and BART number positions from their padding index + 1, so two rows are never read."""


class Family(StrEnum):
    """Families of models, named after their class in transformers."""

    ROBERTA_CLASSIFIER = "roberta-classifier"
    ROBERTA_MASKED_LM = "roberta-masked-lm"
    LLAMA = "llama"
    BART = "bart"
    VIT = "vit"


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
    """

    family: Family
    vocabulary_size: int
    sequence_length: int
    classes: int = 0
    image_size: int = 0
    patch_size: int = 0
    channels: int = 0

    @property
    def positions(self) -> int:
        """Rows of the position embedding of text models that have one."""
        return self.sequence_length + POSITION_OFFSET

    @property
    def outputs(self) -> int:
        """Logits of one output position."""
        return self.classes or self.vocabulary_size
