"""Decoding: texts after a source text, and continuations of a prompt, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from objectives.data.batches import Batch
from objectives.data.encoding import END, PAD
from objectives.device import device_of
from objectives.store import heartbeat

DETERMINISTIC: dict[str, Any] = {
    "do_sample": False, "eos_token_id": END, "pad_token_id": PAD, "use_cache": True,
}  # fmt: skip
"""Arguments of ``generate`` that all texts have."""


@dataclass(frozen=True)
class Decoding:
    """What models of a task read, and how they decode.

    Args:
        inputs: ``input_ids`` and ``attention_mask``, ``(batch, prompt tokens)``.
        new_tokens: Tokens that they then write.
        options: Further arguments of transformers' ``generate``.
    """

    inputs: Batch
    new_tokens: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that are read."""
        return self.inputs["input_ids"].shape[1]

    def arguments(self, new_tokens: int) -> dict[str, Any]:
        """Arguments of ``generate`` for so many tokens, whatever they are."""
        return {
            **self.inputs,
            **DETERMINISTIC,
            **self.options,
            "max_new_tokens": new_tokens,
            "min_new_tokens": new_tokens,
        }


def of_decoder(start: tuple[int, ...], beams: int) -> dict[str, Any]:
    """Arguments of ``generate`` for a decoder beside an encoder.

    Args:
        start: The token that it starts from, and the one that it must write first, if any.
        beams: Beams of the search; 1 is greedy.
    """
    return {
        "num_beams": beams,
        "decoder_start_token_id": start[0],
        "forced_bos_token_id": start[1] if start[1:] else None,
    }


def write_texts(
    model: Any,
    batch: Batch,
    tokenizer: Any,
    *,
    start: tuple[int, ...],
    beams: int,
    length: int,
) -> list[str]:
    """The texts that a model writes for those of a batch, such as their translations.

    Each token is a heartbeat.

    Args:
        model: An encoder with a decoder.
        batch: ``input_ids`` and ``attention_mask``, ``(batch, sequence)``.
        start: The token that the decoder starts from, and the one that it must write first, if any.
        beams: Beams of the search; 1 is greedy.
        length: Longest text to write in tokens, the start token included.
    """
    with model.register_forward_hook(lambda *_: heartbeat.beat("scoring")):
        generated = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=length - 1,
            **of_decoder(start, beams),
            **DETERMINISTIC,
        )
    texts: list[str] = tokenizer.decode_batch(generated.tolist())
    return texts


def continue_prompt(model: Any, prompt: list[int], tokenizer: Any, *, sequence_length: int) -> str:
    """The greedy continuation of a prompt by a causal language model, to the end of its window.

    Args:
        prompt: Token ids, at least one and fewer than ``sequence_length``.
        sequence_length: Window of the model in tokens.
    """
    inputs = torch.tensor([prompt], device=device_of(model))
    generated = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=sequence_length - len(prompt),
        **DETERMINISTIC,
    )
    continuation = [token for token in generated[0, len(prompt) :].tolist() if token != END]
    text: str = tokenizer.decode(continuation, skip_special_tokens=False)
    return text
