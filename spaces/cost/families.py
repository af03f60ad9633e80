"""The families of models: how transformers lays out the weights of each."""

from __future__ import annotations

from functools import lru_cache

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.layout import (
    Block,
    Layout,
    Role,
    Weight,
    embedding,
    linear,
    norm,
    stack,
)
from spaces.cost.workload import Family, Workload

MASKED_FRACTION = 0.3
"""Fraction of tokens that masked language modelling predicts: ModernBERT's. More than BERT's 0.15
learns more from each sequence (Wettig et al. 2022, arXiv 2202.08005)."""


def masked_tokens(sequence_length: int) -> int:
    """Tokens of one sequence that are predicted, at least one."""
    return max(1, round(MASKED_FRACTION * sequence_length))


def _modernbert(shape: Shape, workload: Workload) -> Layout:
    """ModernBERT (Warner et al. 2024, arXiv 2412.13663): a classifier, or a masked language model,
    the vocabulary matrix of whose head is the token embedding."""
    width, vocabulary_size, length = shape.width, workload.vocabulary_size, workload.sequence_length
    is_classifier = workload.family.is_classifier_of_text
    return Layout(
        ends=(
            embedding("model.embeddings.tok_embeddings", vocabulary_size, width),
            *norm("model.embeddings.norm", width, bias=False),
            *norm("model.final_norm", width, bias=False),
            *linear("head.dense", width, width, bias=False),
            *norm("head.norm", width, bias=False),
            *(
                linear("classifier", workload.classes, width)
                if is_classifier
                else (Weight("decoder.bias", (vocabulary_size,), Role.DENSE),)
            ),
        ),
        stacks=(
            stack(
                "model.layers",
                shape.depth,
                shape,
                attentions=(Block(("attn.Wqkv",), "attn.Wo", fused=3),),
                feed_forward=Block(("mlp.Wi",), "mlp.Wo", fused=2),
                norms=("attn_norm", "mlp_norm"),
                bias=False,
                # The embeddings have just been normalised.
                first_lacks=("attn_norm.weight",),
            ),
        ),
        logits_from="classifier" if is_classifier else "head.norm",
        head=width * (width + workload.outputs),
        outputs=1 if is_classifier else length,
        trained_outputs=1 if is_classifier else masked_tokens(length),
    )


def _roberta(shape: Shape, workload: Workload) -> Layout:
    """RoBERTa (Liu et al. 2019, arXiv 1907.11692): a classifier, or a masked language model, the
    vocabulary matrix of whose head is the token embedding."""
    width, vocabulary_size, length = shape.width, workload.vocabulary_size, workload.sequence_length
    inputs = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))
    is_classifier = workload.family.is_classifier_of_text
    head = (
        (
            *linear("classifier.dense", width, width),
            *linear("classifier.out_proj", workload.classes, width),
        )
        if is_classifier
        else (
            *linear("lm_head.dense", width, width),
            *norm("lm_head.layer_norm", width),
            Weight("lm_head.bias", (vocabulary_size,), Role.DENSE),
        )
    )
    return Layout(
        ends=(
            embedding("roberta.embeddings.word_embeddings", vocabulary_size, width),
            embedding("roberta.embeddings.position_embeddings", workload.positions, width),
            embedding("roberta.embeddings.token_type_embeddings", 1, width),
            *norm("roberta.embeddings.LayerNorm", width),
            *head,
        ),
        stacks=(
            stack(
                "roberta.encoder.layer",
                shape.depth,
                shape,
                attentions=(Block(inputs, "attention.output.dense"),),
                feed_forward=Block(("intermediate.dense",), "output.dense"),
                norms=("attention.output.LayerNorm", "output.LayerNorm"),
            ),
        ),
        logits_from="classifier.out_proj" if is_classifier else "lm_head.layer_norm",
        head=width * (width + workload.outputs),
        outputs=1 if is_classifier else length,
        trained_outputs=1 if is_classifier else masked_tokens(length),
    )


def _projections(attention: str) -> tuple[str, ...]:
    """Names of the linear layers that give query, key and value."""
    return tuple(f"{attention}.{name}_proj" for name in "qkv")


def _llama(shape: Shape, workload: Workload) -> Layout:
    """Llama (Touvron et al. 2023, arXiv 2302.13971): ``LlamaForCausalLM``; the
    vocabulary matrix of its head is the token embedding."""
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
                attentions=(Block(_projections("self_attn"), "self_attn.o_proj"),),
                feed_forward=Block(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
                norms=("input_layernorm", "post_attention_layernorm"),
                bias=False,
            ),
        ),
        logits_from="model.norm",
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
        stream_from=("model.embed_tokens.weight",),
    )


def _mbart(shape: Shape, workload: Workload) -> Layout:
    """BART with pre-norm layers (Liu et al. 2020, arXiv 2001.08210):
    ``MBartForConditionalGeneration``; one token embedding serves both stacks and the head."""
    self_attention, cross_attention = (
        Block(_projections(name), f"{name}.out_proj") for name in ("self_attn", "encoder_attn")
    )
    feed_forward = Block(("fc1",), "fc2")
    width = shape.width
    ends = [embedding("model.shared", workload.vocabulary_size, width)]
    for side in ("encoder", "decoder"):
        ends.append(embedding(f"model.{side}.embed_positions", workload.positions, width))
        ends.extend(norm(f"model.{side}.layernorm_embedding", width))
        ends.extend(norm(f"model.{side}.layer_norm", width))
    return Layout(
        ends=tuple(ends),
        stacks=(
            stack(
                "model.encoder.layers",
                shape.depth,
                shape,
                attentions=(self_attention,),
                feed_forward=feed_forward,
                norms=("self_attn_layer_norm", "final_layer_norm"),
            ),
            stack(
                "model.decoder.layers",
                shape.decoder_depth,
                shape,
                attentions=(self_attention, cross_attention),
                feed_forward=feed_forward,
                norms=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
            ),
        ),
        logits_from="model.decoder.layer_norm",
        head=width * workload.vocabulary_size,
        outputs=workload.sequence_length,
        trained_outputs=workload.sequence_length,
    )


def _vit(shape: Shape, workload: Workload) -> Layout:
    """The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929):
    ``ViTForImageClassification``."""
    width, patch, channels = shape.width, workload.patch_size, workload.channels
    patches = "vit.embeddings.patch_embeddings.projection"
    positions = (1, workload.sequence_length, width)
    embeddings = (
        Weight("vit.embeddings.cls_token", (1, 1, width), Role.DENSE),
        Weight("vit.embeddings.position_embeddings", positions, Role.DENSE),
        Weight(f"{patches}.weight", (width, channels, patch, patch), Role.DENSE),
        Weight(f"{patches}.bias", (width,), Role.DENSE),
    )
    return Layout(
        ends=(
            *embeddings,
            *norm("vit.layernorm", width),
            *linear("classifier", workload.classes, width),
        ),
        stacks=(
            stack(
                "vit.layers",
                shape.depth,
                shape,
                attentions=(Block(_projections("attention"), "attention.o_proj"),),
                feed_forward=Block(("mlp.fc1",), "mlp.fc2"),
                norms=("layernorm_before", "layernorm_after"),
            ),
        ),
        logits_from="classifier",
        head=width * workload.classes,
        outputs=1,
        trained_outputs=1,
        input_products=(workload.sequence_length - 1) * channels * patch * patch * width,
        stream_from=tuple(weight.name for weight in embeddings),
    )


_LAYOUTS = {
    Family.MODERNBERT_CLASSIFIER: _modernbert,
    Family.MODERNBERT_MASKED_LM: _modernbert,
    Family.ROBERTA_CLASSIFIER: _roberta,
    Family.ROBERTA_MASKED_LM: _roberta,
    Family.LLAMA: _llama,
    Family.MBART: _mbart,
    Family.VIT: _vit,
}


@lru_cache(maxsize=10_000)
def layout(shape: Shape, workload: Workload) -> Layout:
    """The layout of a model."""
    return _LAYOUTS[workload.family](shape, workload)


def parameters(architecture: Architecture, workload: Workload) -> int:
    """Parameters of an architecture before compression."""
    return layout(architecture.shape, workload).parameters
