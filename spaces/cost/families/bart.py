"""BART (Lewis et al. 2020, arXiv 1910.13461) as transformers lays it out: encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterator

from spaces.cost.layout import (
    Attention,
    FeedForward,
    Layout,
    Stack,
    Weight,
    embedding,
    linear,
    norm,
)
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload


def layout(shape: Shape, workload: Workload) -> Layout:
    """``BartForConditionalGeneration``; one token embedding serves both stacks and the head."""
    width = shape.width
    ends = [embedding("model.shared", workload.vocabulary_size, width)]
    for side in ("encoder", "decoder"):
        ends.append(embedding(f"model.{side}.embed_positions", workload.positions, width))
        ends.extend(norm(f"model.{side}.layernorm_embedding", width))
    return Layout(
        ends=tuple(ends),
        stacks=(
            _stack(shape, "model.encoder.layers", shape.depth, ("self_attn",)),
            _stack(
                shape, "model.decoder.layers", shape.decoder_depth, ("self_attn", "encoder_attn")
            ),
        ),
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
    )


def _stack(shape: Shape, prefix: str, depth: int, attentions: tuple[str, ...]) -> Stack:
    width, feed_forward = shape.width, shape.feed_forward
    weights = [weight for name in attentions for weight in _attention(name, shape)]
    weights += [
        *linear("fc1", feed_forward, width),
        *linear("fc2", width, feed_forward),
        *norm("final_layer_norm", width),
    ]
    return Stack(
        prefix=prefix,
        depth=depth,
        weights=tuple(weights),
        attentions=tuple(
            Attention(f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj", f"{name}.out_proj")
            for name in attentions
        ),
        feed_forward=FeedForward(("fc1",), "fc2"),
    )


def _attention(name: str, shape: Shape) -> Iterator[Weight]:
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from linear(f"{name}.{projection}", shape.attention, shape.width)
    yield from linear(f"{name}.out_proj", shape.width, shape.attention)
    yield from norm(f"{name}_layer_norm", shape.width)
