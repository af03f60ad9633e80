"""What of a model is timed: a forward pass, its first token, or each further one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from objectives.data.batches import Batch
from objectives.device import wait_for
from objectives.measurement.latency import Timer, elapsed_ms
from objectives.models.decoding import Decoding
from objectives.runtimes.base import Forward
from objectives.store import heartbeat

FEWEST_TEXTS = 10
TOKENS_FOR_ONE_CALL = 4
"""A text has many tokens, so that fewer texts are timed than forward passes."""


class Timed(Protocol):
    """What of a model is timed."""

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What its time depends on, besides the model and ``measurement``: fields of ``Latency``
        that it sets, as plain values."""

    @property
    def decodes(self) -> bool:
        """Whether tokens are written."""

    def timer(self, model: Forward) -> Timer:
        """Times a model; of one that decodes, its method ``generate``."""

    def repeats(self, calls: int) -> int:
        """Calls that give as good a figure as so many forward passes."""


@dataclass(frozen=True)
class ForwardPass:
    """A forward pass; of a large batch, divided by its examples.

    Args:
        inputs: Arguments of the forward pass.
        per_example: Whether the time is that of one example of the batch.
    """

    inputs: Batch
    per_example: bool = False
    decodes: ClassVar[bool] = False

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The batch, where it is not that of ``measurement.batch_size``."""
        return {"batch_size": self._examples} if self.per_example else {}

    @property
    def _examples(self) -> int:
        return len(next(iter(self.inputs.values())))

    def timer(self, model: Forward) -> Timer:
        """As ``Timed``."""
        examples = self._examples if self.per_example else 1
        return lambda: elapsed_ms(model, self.inputs) / examples

    def repeats(self, calls: int) -> int:
        """As ``Timed``."""
        return calls


@dataclass(frozen=True)
class FirstToken:
    """The first token of ``generate``: the prompt is read, and a token chosen."""

    decoding: Decoding
    decodes: ClassVar[bool] = True

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The prompt."""
        return {"sequence_length": self.decoding.prompt_tokens, "new_tokens": 1}

    def timer(self, model: Any) -> Timer:
        """As ``Timed``."""
        arguments = self.decoding.arguments(1)
        return lambda: elapsed_ms(model.generate, arguments)

    def repeats(self, calls: int) -> int:
        """As ``Timed``."""
        return calls


@dataclass(frozen=True)
class FurtherTokens:
    """Each token after the first of ``generate``, which keeps the keys and values of earlier ones.

    The time of a text is the median of its tokens, so that an interruption of a few does not count.
    """

    decoding: Decoding
    decodes: ClassVar[bool] = True

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The prompt, and the tokens after it."""
        return {
            "sequence_length": self.decoding.prompt_tokens,
            "new_tokens": self.decoding.new_tokens,
        }

    def timer(self, model: Any) -> Timer:
        """As ``Timed``."""
        clock = _TokenClock()
        arguments = {
            **self.decoding.arguments(self.decoding.new_tokens),
            "stopping_criteria": [clock],
        }

        def timed() -> float:
            clock.moments.clear()
            model.generate(**arguments)
            return float(np.median(np.diff(clock.moments))) * 1e3

        return timed

    def repeats(self, calls: int) -> int:
        """As ``Timed``."""
        return max(FEWEST_TEXTS, calls // TOKENS_FOR_ONE_CALL)


class _TokenClock:
    """A stopping criterion that never stops, and notes when each token was chosen."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def __call__(self, tokens: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        wait_for(tokens.device)
        heartbeat.beat()
        self.moments.append(time.perf_counter())
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
