"""Decoding: texts after a source text, and continuations of a prompt, token by token."""

from __future__ import annotations

from typing import Any

import torch

from objectives.data.batches import Batch
from objectives.data.encoding import END, PAD
from objectives.store import heartbeat


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
            num_beams=beams,
            do_sample=False,
            max_new_tokens=length - 1,
            decoder_start_token_id=start[0],
            forced_bos_token_id=start[1] if start[1:] else None,
            eos_token_id=END,
            pad_token_id=PAD,
            use_cache=True,
        )
    texts: list[str] = tokenizer.decode_batch(generated.tolist())
    return texts


def continue_prompt(model: Any, prompt: list[int], tokenizer: Any, *, sequence_length: int) -> str:
    """The greedy continuation of a prompt by a causal language model, to the end of its window.

    Args:
        prompt: Token ids, at least one and fewer than ``sequence_length``.
        sequence_length: Window of the model in tokens.
    """
    inputs = torch.tensor([prompt])
    generated = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=sequence_length - len(prompt),
        eos_token_id=END,
        pad_token_id=PAD,
        use_cache=True,
    )
    continuation = [token for token in generated[0, len(prompt) :].tolist() if token != END]
    text: str = tokenizer.decode(continuation, skip_special_tokens=False)
    return text
