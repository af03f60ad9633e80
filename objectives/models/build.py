"""Building the models of a family with transformers, whole or with pruned layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import (
    LlamaForCausalLM,
    MBartForConditionalGeneration,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    ViTForImageClassification,
)

from objectives.data.encoding import END, PAD, START
from objectives.models.checkpoint.building import build_checkpoint
from objectives.models.own import build_own
from objectives.models.parametrisation import BASE_STD, initialise, is_parametrised
from spaces.cost.architecture import Shape
from spaces.cost.families import layout
from spaces.cost.layout import Role, Stack
from spaces.cost.workload import Family, Workload

ROPE_THETA = 10_000.0
"""Of texts below a thousand tokens (Su et al. 2021, arXiv 2104.09864, section 3.3)."""


def build(shape: Shape, workload: Workload, *, dropout: float = 0.0) -> nn.Module:
    """An untrained model with layers as an architecture has them, or as pruning leaves them.

    ``dropout`` is that of every layer and of a classifier's head; a checkpoint and the model of a
    user's own task have their own.
    """
    if workload.checkpoint:
        model = build_checkpoint(shape, workload)
    elif workload.own:
        model = build_own(shape, workload)
    else:
        config, model_class = configuration_of(shape, workload, dropout=dropout)
        model = model_class(config)
    if is_parametrised(workload):
        initialise(model, shape, workload)
    for stack in layout(shape, workload).stacks:
        resize(model, stack)
    return model


def configuration_of(shape: Shape, workload: Workload, *, dropout: float = 0.0) -> tuple[Any, Any]:
    """transformers' configuration of a model, and its class."""
    model_class, fields = _FAMILIES[workload.family]
    values = fields(shape, workload, dropout)
    if shape.activation:
        values[_ACTIVATIONS.get(workload.family, "hidden_act")] = shape.activation
    if not shape.tied_embeddings:
        values["tie_word_embeddings"] = False
    return model_class.config_class(**values), model_class


def resize(model: nn.Module, stack: Stack) -> None:
    """Give the linear layers of a model the shapes of a layout, in place, where pruning made them
    smaller; their weights are new."""
    for index in range(stack.depth):
        for weight in stack.layer(index):
            if weight.role is not Role.LINEAR:
                continue
            name = weight.name.removesuffix(".weight")
            module = model.get_submodule(name)
            if module.weight.shape != weight.shape:
                outputs, inputs = weight.shape
                resized = nn.Linear(inputs, outputs, bias=module.bias is not None)
                model.set_submodule(name, resized)


def _layers(shape: Shape) -> dict[str, Any]:
    """Fields that the configurations of encoders and of Llama share."""
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.width // shape.head_width,
        "intermediate_size": shape.feed_forward,
        "initializer_range": BASE_STD,
        "attn_implementation": "sdpa",
    }


def _tokens(workload: Workload) -> dict[str, Any]:
    """Fields that the configurations of all text models share."""
    return {
        "vocab_size": workload.vocabulary_size,
        "bos_token_id": START,
        "pad_token_id": PAD,
        "eos_token_id": END,
        "tie_word_embeddings": True,
    }


def _modernbert(shape: Shape, workload: Workload, dropout: float) -> dict[str, Any]:
    rotary = {"rope_type": "default", "rope_theta": ROPE_THETA}
    return {
        **_layers(shape),
        **_tokens(workload),
        "cls_token_id": START,
        "sep_token_id": END,
        "max_position_embeddings": workload.sequence_length,
        "layer_types": ["full_attention"] * shape.depth,
        "rope_parameters": {"full_attention": rotary, "sliding_attention": rotary},
        "num_labels": workload.classes or 2,
        # Masked language modelling does not train the state of the start token.
        "classifier_pooling": "mean",
        "embedding_dropout": dropout,
        "attention_dropout": dropout,
        "mlp_dropout": dropout,
        "classifier_dropout": dropout,
    }


def _roberta(shape: Shape, workload: Workload, dropout: float) -> dict[str, Any]:
    return {
        **_layers(shape),
        **_tokens(workload),
        "max_position_embeddings": workload.positions,
        "type_vocab_size": 1,
        "num_labels": workload.classes or 2,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }


def _llama(shape: Shape, workload: Workload, dropout: float) -> dict[str, Any]:
    return {
        **_layers(shape),
        **_tokens(workload),
        "num_key_value_heads": shape.width // shape.head_width,
        "head_dim": shape.head_width,
        "max_position_embeddings": workload.sequence_length,
        "attention_dropout": dropout,
        "use_cache": False,
    }


def _mbart(shape: Shape, workload: Workload, dropout: float) -> dict[str, Any]:
    heads = shape.width // shape.head_width
    return {
        **_tokens(workload),
        "d_model": shape.width,
        "encoder_layers": shape.depth,
        "decoder_layers": shape.decoder_depth,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": shape.feed_forward,
        "decoder_ffn_dim": shape.feed_forward,
        "max_position_embeddings": workload.longest,
        "dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": 0.0,
        "init_std": BASE_STD,
        "decoder_start_token_id": START,
        "forced_eos_token_id": None,
        "attn_implementation": "sdpa",
    }


def _vit(shape: Shape, workload: Workload, dropout: float) -> dict[str, Any]:
    return {
        **_layers(shape),
        "image_size": workload.image_size,
        "patch_size": workload.patch_size,
        "num_channels": workload.channels,
        "num_labels": workload.classes,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }


_FAMILIES: dict[Family, tuple[Any, Callable[[Shape, Workload, float], dict[str, Any]]]] = {
    Family.MODERNBERT_CLASSIFIER: (ModernBertForSequenceClassification, _modernbert),
    Family.MODERNBERT_TOKEN_CLASSIFIER: (ModernBertForTokenClassification, _modernbert),
    Family.MODERNBERT_MASKED_LM: (ModernBertForMaskedLM, _modernbert),
    Family.ROBERTA_CLASSIFIER: (RobertaForSequenceClassification, _roberta),
    Family.ROBERTA_TOKEN_CLASSIFIER: (RobertaForTokenClassification, _roberta),
    Family.ROBERTA_MASKED_LM: (RobertaForMaskedLM, _roberta),
    Family.LLAMA: (LlamaForCausalLM, _llama),
    Family.MBART: (MBartForConditionalGeneration, _mbart),
    Family.VIT: (ViTForImageClassification, _vit),
}
"""The model of each family, and the fields of its configuration."""

_ACTIVATIONS = {
    Family.MODERNBERT_CLASSIFIER: "hidden_activation",
    Family.MODERNBERT_TOKEN_CLASSIFIER: "hidden_activation",
    Family.MODERNBERT_MASKED_LM: "hidden_activation",
    Family.MBART: "activation_function",
}
"""The field of the activation, where it is not ``hidden_act``."""
