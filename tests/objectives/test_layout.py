"""Layouts that are read from the modules of any Transformer, compared with real models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from objectives.compression.model_file import CompressedWeights, write_weights
from objectives.compression.quantise.methods import METHODS
from objectives.compression.quantise.weights import StoredWeight
from objectives.measurement.flops import count_forward_flops
from objectives.models.build import resize
from objectives.models.family_layouts import read_family_layout
from objectives.models.forward_trace import with_linear_layers
from objectives.models.layout import UnknownArchitectureError, layout_of
from objectives.testing.tiny_models import WORKLOADS
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import family_layout
from spaces.cost.flops import sequence_flops
from spaces.cost.layout import Layout, Role
from spaces.cost.size import weights_bytes
from spaces.cost.workload import Family

TEXT: dict[str, Any] = {"vocab_size": 211, "pad_token_id": 0}
SIZES = {
    **TEXT,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 40,
}
SHARED_KEYS = {**SIZES, "num_key_value_heads": 2}
IMAGES = {**SIZES, "image_size": 20, "patch_size": 5, "num_labels": 3}
BOTH_STACKS = {
    **TEXT,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 40,
}
GPT2 = {**TEXT, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 40}
T5 = {**TEXT, "d_model": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 128}

CLASSIFIER = hf.AutoModelForSequenceClassification
IMAGE_CLASSIFIER = hf.AutoModelForImageClassification
MASKED_LM, CAUSAL_LM = hf.AutoModelForMaskedLM, hf.AutoModelForCausalLM
PAIRS = hf.AutoModelForSeq2SeqLM

MODELS: dict[str, tuple[Any, Any]] = {
    "bert": (hf.BertConfig(**SIZES), CLASSIFIER),
    "bert, masked": (hf.BertConfig(**SIZES), MASKED_LM),
    "roberta": (hf.RobertaConfig(**SIZES), CLASSIFIER),
    "distilbert": (
        hf.DistilBertConfig(**TEXT, dim=64, n_layers=2, n_heads=4, hidden_dim=128),
        CLASSIFIER,
    ),
    "modernbert": (hf.ModernBertConfig(**SIZES), CLASSIFIER),
    "electra": (hf.ElectraConfig(**SIZES, embedding_size=32), CLASSIFIER),
    "vit": (hf.ViTConfig(**IMAGES), IMAGE_CLASSIFIER),
    "deit": (hf.DeiTConfig(**IMAGES), IMAGE_CLASSIFIER),
    "beit": (hf.BeitConfig(**IMAGES), IMAGE_CLASSIFIER),
    "gpt2": (hf.GPT2Config(**GPT2), CAUSAL_LM),
    "gpt2, classifier": (hf.GPT2Config(**GPT2), CLASSIFIER),
    "llama": (hf.LlamaConfig(**SHARED_KEYS, tie_word_embeddings=False), CAUSAL_LM),
    "llama, tied": (hf.LlamaConfig(**SHARED_KEYS, tie_word_embeddings=True), CAUSAL_LM),
    "qwen2": (hf.Qwen2Config(**SHARED_KEYS), CAUSAL_LM),
    "qwen3": (hf.Qwen3Config(**SHARED_KEYS, head_dim=24), CAUSAL_LM),
    "bart": (hf.BartConfig(**BOTH_STACKS), PAIRS),
    "marian": (hf.MarianConfig(**BOTH_STACKS), PAIRS),
    "t5": (hf.T5Config(**T5), PAIRS),
    "t5, gated and not tied": (
        hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        PAIRS,
    ),
}
COMPRESSIONS = [
    Compression(),
    Compression(Quantisation.RTN_8),
    Compression(Quantisation.RTN_4, sparsity=0.25),
]
every_model = pytest.mark.parametrize("name", MODELS)


@cache
def layout_named(name: str) -> Layout:
    return layout_of(*MODELS[name])


def build(name: str) -> nn.Module:
    """The real model, with random weights."""
    config, auto_class = MODELS[name]
    config.architectures = []
    torch.manual_seed(0)
    model: nn.Module = auto_class.from_config(config, attn_implementation="sdpa")
    return with_linear_layers(model.eval())


def pruned_model(name: str, layout: Layout) -> nn.Module:
    """The real model with fewer layers, heads and neurons."""
    model = build(name)
    for stack in layout.stacks:
        layers = model.get_submodule(stack.prefix)
        assert isinstance(layers, nn.ModuleList)
        del layers[stack.depth :]
        resize(model, stack)
    # What GPT-2 and T5 remember of the number of heads.
    (stack, *_) = layout.stacks
    for module in model.modules():
        if hasattr(module, "split_size"):
            module.split_size = stack.heads * stack.head_width
        if hasattr(module, "n_heads"):
            module.n_heads = stack.heads
        if hasattr(module, "relative_attention_bias"):
            buckets = module.relative_attention_bias.num_embeddings
            module.relative_attention_bias = nn.Embedding(buckets, stack.heads)
    return model


def inputs_of(name: str, tokens: int) -> dict[str, torch.Tensor]:
    config, _ = MODELS[name]
    if hasattr(config, "image_size"):
        return {"pixel_values": torch.randn(1, 3, config.image_size, config.image_size)}
    ids = torch.arange(1, tokens + 1)[None]
    names = ["input_ids", "attention_mask"] + ["decoder_input_ids"] * config.is_encoder_decoder
    return {name: torch.ones_like(ids) if "mask" in name else ids for name in names}


@every_model
def test_weights_are_those_of_the_real_model(name: str) -> None:
    layout = layout_named(name)
    real = {key: tuple(value.shape) for key, value in build(name).named_parameters()}
    weights = list(layout.weights())
    assert {weight.name: weight.shape for weight in weights} == real
    assert len(weights) == len(real)
    assert layout.parameters == sum(weight.count for weight in weights)
    assert Layout.from_json(layout.to_json()) == layout


@every_model
def test_flops_are_those_that_are_executed(name: str) -> None:
    layout = layout_named(name)
    for fraction in (0.0, 0.5):
        pruned = layout.pruned(heads=fraction, feed_forward=fraction, layers=fraction)
        model = pruned_model(name, pruned)
        for length in (5, 12):
            tokens = 16 + pruned.special_tokens if pruned.special_tokens else length
            executed = count_forward_flops(model, inputs_of(name, length))
            assert sequence_flops(pruned, tokens) == executed, fraction


@every_model
def test_bytes_are_those_on_disk(name: str, tmp_path: Path) -> None:
    layout = layout_named(name)
    for compression in COMPRESSIONS:
        pruned = layout.pruned(**compression.removed)
        model = pruned_model(name, pruned)
        state = model.state_dict()
        stored: dict[str, StoredWeight] = {w.name: state[w.name] for w in pruned.weights()}
        if compression.quantisation.has_codes:
            matrices = [w.name for w in pruned.weights() if w.role is not Role.DENSE]
            bits, group = compression.quantisation.bits, compression.group_size
            stored |= METHODS["rtn"](model, matrices, [], bits=bits, group_size=group)
        file = tmp_path / "model.safetensors"
        write_weights(file, CompressedWeights(stored, {}))
        predicted = weights_bytes(pruned, compression)
        assert predicted == pytest.approx(file.stat().st_size, rel=0.01), compression


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_a_smaller_model_has_the_layout_of_its_configuration(name: str) -> None:
    config, auto_class = MODELS[name]
    smaller = type(config).from_dict(config.to_dict() | {"vocab_size": 100})
    smaller.num_hidden_layers = 1
    depths = (1, 2) if config.is_encoder_decoder else (1,)
    resized = layout_named(name).resized(depths=depths, vocabulary=100)
    expected = layout_of(smaller, auto_class)
    assert {w.name: w for w in resized.weights()} == {w.name: w for w in expected.weights()}
    assert sequence_flops(resized, 9) == sequence_flops(expected, 9)


def test_a_model_of_any_size_needs_no_memory() -> None:
    layout = layout_of(hf.LlamaConfig(), CAUSAL_LM)
    assert layout.parameters == 6_738_415_616  # of Llama 7B


def test_heads_that_share_keys_are_removed_with_them() -> None:
    layout = layout_named("llama")
    (stack,) = layout.pruned(heads=0.5).stacks
    assert (stack.heads, stack.key_value_heads) == (2, 1)
    with pytest.raises(ValueError, match="3 heads"):
        layout.resized(heads=3)
    with pytest.raises(ValueError, match="has no classes"):
        layout.resized(classes=3)


@pytest.mark.parametrize("family", WORKLOADS)
def test_stored_layouts_of_families_are_those_of_transformers(family: Family) -> None:
    """If they differ: ``python -m objectives.models.family_layouts``."""
    assert family_layout(family) == read_family_layout(family)


@pytest.mark.parametrize(
    ("config", "auto_class", "reason"),
    [
        (hf.AlbertConfig(**SIZES, embedding_size=32), CLASSIFIER, "executed 2 times"),
        (hf.GPTNeoXConfig(**SIZES), CAUSAL_LM, "one below another"),
        (hf.MPNetConfig(**SIZES), CLASSIFIER, "does not support an attention"),
        (hf.ResNetConfig(depths=[1, 1, 1, 1]), IMAGE_CLASSIFIER, "cannot run it"),
        (hf.Olmo2Config(**SHARED_KEYS), CAUSAL_LM, "normalises all heads"),
    ],
    ids=["albert", "gpt-neox", "mpnet", "resnet", "olmo2"],
)
def test_an_architecture_without_equal_transformer_layers_is_refused(
    config: Any, auto_class: Any, reason: str
) -> None:
    with pytest.raises(UnknownArchitectureError, match=reason):
        layout_of(config, auto_class)
