"""Llama (Touvron et al. 2023, arXiv 2302.13971) as transformers lays it out, embeddings tied."""

from __future__ import annotations

from spaces.cost.layout import Attention, FeedForward, Layout, embedding, norm, stack
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload

ATTENTION = Attention(
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"
)
FEED_FORWARD = FeedForward(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj")


def layout(shape: Shape, workload: Workload) -> Layout:
    """``LlamaForCausalLM``; the vocabulary matrix of its head is the token embedding."""
    width = shape.width
    return Layout(
        ends=(
            embedding("model.embed_tokens", workload.vocabulary_size, width),
            *norm("model.norm", width, bias=False),
        ),
        stacks=(
            stack(
                "model.layers",
                shape.depth,
                shape,
                attentions=(ATTENTION,),
                feed_forward=FEED_FORWARD,
                norms=("input_layernorm", "post_attention_layernorm"),
                bias=False,
            ),
        ),
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
    )
