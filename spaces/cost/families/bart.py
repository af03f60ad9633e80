"""BART (Lewis et al. 2020, arXiv 1910.13461) as transformers lays it out: encoder and decoder."""

from __future__ import annotations

from spaces.cost.layout import Attention, FeedForward, Layout, embedding, norm, stack
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload

SELF_ATTENTION, CROSS_ATTENTION = (
    Attention(f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj", f"{name}.out_proj")
    for name in ("self_attn", "encoder_attn")
)
FEED_FORWARD = FeedForward(("fc1",), "fc2")


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
            stack(
                "model.encoder.layers",
                shape.depth,
                shape,
                attentions=(SELF_ATTENTION,),
                feed_forward=FEED_FORWARD,
                norms=("self_attn_layer_norm", "final_layer_norm"),
            ),
            stack(
                "model.decoder.layers",
                shape.decoder_depth,
                shape,
                attentions=(SELF_ATTENTION, CROSS_ATTENTION),
                feed_forward=FEED_FORWARD,
                norms=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
            ),
        ),
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
    )
