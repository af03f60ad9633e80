"""Llama (Touvron et al. 2023, arXiv 2302.13971) as transformers lays it out, embeddings tied."""

from __future__ import annotations

from spaces.cost.layout import Attention, FeedForward, Layout, Stack, embedding, linear, norm
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload


def layout(shape: Shape, workload: Workload) -> Layout:
    """``LlamaForCausalLM``; the vocabulary matrix of its head is the token embedding."""
    width = shape.width
    return Layout(
        ends=(
            embedding("model.embed_tokens", workload.vocabulary_size, width),
            *norm("model.norm", width, bias=False),
        ),
        stacks=(_stack(shape),),
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
    )


def _stack(shape: Shape) -> Stack:
    width, attention, feed_forward = shape.width, shape.attention, shape.feed_forward
    weights = (
        *linear("self_attn.q_proj", attention, width, bias=False),
        *linear("self_attn.k_proj", attention, width, bias=False),
        *linear("self_attn.v_proj", attention, width, bias=False),
        *linear("self_attn.o_proj", width, attention, bias=False),
        *linear("mlp.gate_proj", feed_forward, width, bias=False),
        *linear("mlp.up_proj", feed_forward, width, bias=False),
        *linear("mlp.down_proj", width, feed_forward, bias=False),
        *norm("input_layernorm", width, bias=False),
        *norm("post_attention_layernorm", width, bias=False),
    )
    return Stack(
        prefix="model.layers",
        depth=shape.depth,
        weights=weights,
        attentions=(
            Attention(
                "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"
            ),
        ),
        feed_forward=FeedForward(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    )
