"""The arithmetic against real models."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from objectives import artefact
from objectives.compress import compress
from objectives.flops import count_forward_flops
from objectives.model import build_classifier, build_masked_lm
from spaces.architecture import Architecture
from spaces.budget import BudgetUnit, Schedule
from spaces.compression import Compression, Pruning, Quantisation
from spaces.flops import forward_flops, masked_tokens, pretraining_step_flops
from spaces.shapes import Workload, classifier_weights, parameters
from spaces.size import size_bytes

ARCHITECTURES = [
    Architecture.of(1, 32),
    Architecture.of(3, 64),
    Architecture.of(2, 96, heads=2, feed_forward=160),
]
WORKLOAD = Workload(vocabulary_size=500, sequence_length=24, classes=3)
PRUNINGS = [
    (Pruning.STRUCTURED, 0.0),
    (Pruning.STRUCTURED, 0.5),
    (Pruning.UNSTRUCTURED, 0.3),
    (Pruning.UNSTRUCTURED, 0.9),
]


def calibration() -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    tokens = torch.randint(5, 500, (8, 24))
    labels = torch.randint(0, 3, (8,))
    return [{"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9])
def test_names_and_shapes_are_those_of_the_real_model(
    architecture: Architecture, sparsity: float
) -> None:
    model = build_classifier(architecture, WORKLOAD, sparsity=sparsity)
    real = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = classifier_weights(architecture, WORKLOAD, sparsity=sparsity)
    assert {weight.name: weight.shape for weight in weights} == real
    count = parameters(architecture, WORKLOAD, sparsity=sparsity)
    assert count == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_forward_flops_are_those_that_are_executed(
    architecture: Architecture, sparsity: float
) -> None:
    model = build_classifier(architecture, WORKLOAD, sparsity=sparsity).eval()
    tokens = torch.randint(5, 500, (1, 24))
    expected = forward_flops(architecture, WORKLOAD, sparsity=sparsity)
    assert count_forward_flops(model, tokens) == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_training_flops_are_those_that_are_executed(architecture: Architecture) -> None:
    model = build_masked_lm(architecture, WORKLOAD)
    model.config._attn_implementation = "eager"  # torch counts these products in both passes
    predicted = masked_tokens(WORKLOAD.sequence_length)
    counter = FlopCounterMode(display=False)
    with counter:
        hidden = model.roberta(torch.randint(5, 500, (4, 24))).last_hidden_state
        logits = model.lm_head(hidden[:, :predicted].flatten(0, 1))
        functional.cross_entropy(logits, torch.zeros(4 * predicted, dtype=torch.long)).backward()
    expected = pretraining_step_flops(architecture, WORKLOAD, batch_size=4)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], ARCHITECTURES[2]], ids=str)
@pytest.mark.parametrize("quantisation", list(Quantisation))
def test_predicted_bytes_are_those_on_disk(
    architecture: Architecture, quantisation: Quantisation, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = build_classifier(architecture, WORKLOAD)
    prunings = PRUNINGS if quantisation is not Quantisation.STATIC_8 else PRUNINGS[1:3]
    for pruning, sparsity in prunings:
        compression = Compression(quantisation, 32, pruning, sparsity)
        folder = tmp_path / f"{pruning}-{sparsity}"
        compress(model, architecture, WORKLOAD, compression, calibration(), folder)
        predicted = size_bytes(architecture, WORKLOAD, compression)
        assert predicted == pytest.approx(artefact.bytes_on_disk(folder), rel=0.02)


def test_a_flops_budget_gives_a_larger_model_fewer_steps() -> None:
    schedule = Schedule(BudgetUnit.FLOPS, batch_size=8, decay_share=0.2, fine_tuning=1e9)
    small, large = (schedule.steps(1e11, a, WORKLOAD) for a in ARCHITECTURES[:2])
    assert small.pretraining > 3 * large.pretraining
    for steps, architecture in ((small, ARCHITECTURES[0]), (large, ARCHITECTURES[1])):
        spent = steps.pretraining * pretraining_step_flops(architecture, WORKLOAD, batch_size=8)
        assert spent == pytest.approx(1e11, rel=0.02)
