"""Summarisation with an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Iterator

from objectives.data.encoding import MASK
from objectives.references.reference import Reference
from objectives.tasks.text_generation import TextGeneration
from spaces.file import tasks


class Summarisation(TextGeneration, tasks.Summarisation):
    """The summarisation task."""

    def references(self) -> Iterator[Reference]:
        """The beginning of the document, as long as the mean training summary (lead baseline)."""
        targets = self.prepared.sentence_pairs("train").targets
        tokens = max(1, round(float((targets > MASK).sum(1).mean())))
        how = (
            f"the first {tokens:,} tokens of the document, the length of the mean training "
            "summary; nothing to store"
        )
        yield Reference("lead baseline", how, 0, lambda split: self.score_of_sources(split, tokens))
