"""The parametrisation: one learning rate suits every width and depth."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from objectives.data.batches import logits
from objectives.models.build import build
from objectives.models.parametrisation import BASE_STD, STREAM, WeightScale, weight_scales
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for
from objectives.training.optimizer import OptimizerSettings, WarmupStable, make_optimizer
from spaces.cost.families import layout
from spaces.cost.workload import Family

SETTINGS = OptimizerSettings(
    peak=2e-3, schedule=WarmupStable(1), weight_decay=0.1, gradient_clip=1.0
)


def scales_of(family: Family, depth: int, width: int, **rest: int) -> Any:
    return weight_scales(architecture_for(family, depth, width, **rest).shape, WORKLOADS[family])


@pytest.mark.parametrize("family", WORKLOADS)
def test_every_weight_of_a_real_model_has_a_scale(family: Family) -> None:
    model = build(architecture_for(family, 3, 64).shape, WORKLOADS[family])
    assert scales_of(family, 3, 64).keys() == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("family", WORKLOADS)
def test_a_model_of_the_base_size_has_the_settings_of_the_search_file(family: Family) -> None:
    for name, scale in scales_of(family, 2, 128).items():
        is_matrix = scale.weight_decay > 0
        assert scale.weight_decay == float(is_matrix), name
        if scale.learning_rate not in (STREAM, 1 / STREAM):
            assert (scale.learning_rate, scale.epsilon) == (1.0, 1.0), name


def test_embeddings_without_a_normalisation_start_the_stream_large_and_the_tied_head_small() -> (
    None
):
    llama = scales_of(Family.LLAMA, 2, 256)
    assert llama["model.embed_tokens.weight"] == WeightScale(10, 10, 0, 1 / 20)
    assert llama["model.norm.weight"] == WeightScale(1 / 20, 1 / 20, 0, 10)
    vit = scales_of(Family.VIT, 2, 128)
    stream = {name for name, scale in vit.items() if scale == WeightScale(10, 10, 0, 1 / 10)}
    assert stream == {name for name in vit if name.startswith("vit.embeddings.")}


def test_matrices_follow_width_and_depth_and_vectors_keep_their_rate() -> None:
    scales = scales_of(Family.MODERNBERT_MASKED_LM, 8, 512)
    layer = "model.layers.7"
    # The inputs of a block; m_N = 4 and m_L = 4.
    assert scales[f"{layer}.attn.Wqkv.weight"] == WeightScale(1 / 2, 1 / 4, 4, 1 / 16)
    assert scales[f"{layer}.attn_norm.weight"] == WeightScale(1, 1, 0, 1 / 16)
    # The outputs of a block, into which 1 / m_L is folded; the second has four times the inputs.
    assert scales[f"{layer}.attn.Wo.weight"] == WeightScale(1 / 8, 1 / 16, 16, 1 / 4)
    assert scales[f"{layer}.mlp.Wo.weight"] == WeightScale(1 / 16, 1 / 16, 16, 1 / 4)
    # The ends, and the normalisation into which 1 / m_N of the tied head is folded.
    embeddings = "model.embeddings.tok_embeddings.weight"
    assert scales[embeddings] == WeightScale(1, 1, 0, 1 / 4)
    assert scales["head.dense.weight"] == WeightScale(1 / 2, 1 / 4, 4, 1 / 4)
    assert scales["head.norm.weight"] == WeightScale(1 / 4, 1 / 4, 0, 1)
    assert scales["decoder.bias"] == WeightScale(1, 1, 0, 1 / 4)
    # Biases of a block's output, which RoBERTa has.
    bias = scales_of(Family.ROBERTA_MASKED_LM, 8, 512)["roberta.encoder.layer.7.output.dense.bias"]
    assert bias == WeightScale(1 / 4, 1 / 4, 0, 1 / 4)


def test_the_last_matrix_of_a_classifier_starts_with_one_over_its_inputs() -> None:
    scales = scales_of(Family.VIT, 2, 512)
    assert scales["classifier.weight"] == WeightScale(1 / 4, 1 / 4, 4, 1 / 4)
    assert scales["classifier.bias"] == WeightScale(1, 1, 0, 1 / 4)


@pytest.mark.parametrize(
    ("family", "norm"), [(Family.LLAMA, "model.norm"), (Family.MBART, "model.decoder.layer_norm")]
)
def test_the_normalisation_before_a_tied_head_follows_the_width(family: Family, norm: str) -> None:
    small, large = (scales_of(family, 2, width)[f"{norm}.weight"] for width in (128, 256))
    assert large.initial == small.initial / 2
    assert large.learning_rate == small.learning_rate / 2


def test_each_stack_has_its_own_depth() -> None:
    scales = scales_of(Family.MBART, 2, 128, decoder_depth=8)
    assert scales["model.encoder.layers.0.fc2.weight"].learning_rate == 1.0
    assert scales["model.decoder.layers.0.fc2.weight"].learning_rate == 1 / 4
    assert scales["model.decoder.layers.0.encoder_attn.out_proj.weight"].learning_rate == 1 / 4


@pytest.mark.parametrize("family", WORKLOADS)
def test_initial_weights_have_the_standard_deviation_of_their_scale(family: Family) -> None:
    torch.manual_seed(0)
    model = build(architecture_for(family, 4, 256).shape, WORKLOADS[family])
    scales = scales_of(family, 4, 256)
    for name, parameter in model.named_parameters():
        if scales[name].weight_decay and parameter.numel() > 4096:
            expected = BASE_STD * scales[name].initial
            assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.05), name


def first_step(family: Family, depth: int, width: int) -> float:
    """Change of the last layer's output in the first step, relative to the output."""
    torch.manual_seed(0)
    workload, architecture = WORKLOADS[family], architecture_for(family, depth, width)
    model = build(architecture.shape, workload)
    optimizer = make_optimizer(model, weight_scales(architecture.shape, workload), SETTINGS)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    outputs: list[torch.Tensor] = []

    def record(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append((output[0] if isinstance(output, tuple) else output).detach())

    last = layout(architecture.shape, workload).stacks[-1].prefix
    model.get_submodule(f"{last}.{depth - 1}").register_forward_hook(record)
    batch = batch_for(workload, count=16)
    scores = logits(model, batch).flatten(0, -2)
    functional.cross_entropy(scores, batch["targets"].flatten()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    logits(model, batch)
    before, after = outputs
    return float((after - before).norm() / before.norm())


@pytest.mark.parametrize(
    "family", [Family.MODERNBERT_MASKED_LM, Family.LLAMA, Family.MBART, Family.VIT]
)
def test_the_first_step_changes_the_hidden_state_equally_in_every_size(family: Family) -> None:
    sizes = [(1, 64), (4, 64), (16, 64), (2, 32), (2, 256)]
    changes = {size: first_step(family, *size) for size in sizes}
    assert max(changes.values()) < 2.0 * min(changes.values()), changes
    assert math.isfinite(sum(changes.values()))
