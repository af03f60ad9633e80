"""Costs of decoding: the first token, and each further one with a cache of keys and values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.failures import TrialFailure
from objectives.measurement.slowdown import MeasuredTimes
from objectives.measurement.timed import FirstToken, FurtherTokens
from objectives.models.build import build
from objectives.models.decoding import Decoding, of_decoder
from objectives.objective import Objective
from objectives.runtimes.onnx_decoder import OnnxDecoder
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.workload import Family, Workload
from spaces.errors import UserError
from spaces.file.search_file import SearchFile

BASE = Configuration(Architecture.of(1, 32), 40, Compression())
PAIR = Configuration(Architecture.of(1, 32, decoder_depth=1), 40, Compression())
Make = Callable[..., SearchFile]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", [Family.LLAMA, Family.MBART])
def test_each_token_after_the_first_reads_one_token(family: Family, beams: int) -> None:
    has_decoder = family.has_decoder
    architecture = Architecture.of(1, 32, decoder_depth=int(has_decoder))
    model: Any = build(architecture.shape, Workload(family, 100, 16)).eval()
    tokens = torch.full((2, 6), 7)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    options = of_decoder((1,), beams) if has_decoder else {"num_beams": beams}
    decoding = Decoding(inputs, new_tokens=5, options=options)
    lengths: list[int] = []
    decoder = model.model.decoder if has_decoder else model.model
    decoder.embed_tokens.register_forward_hook(
        lambda module, arguments, output: lengths.append(arguments[0].shape[1])
    )
    read = 1 if has_decoder else 6
    with torch.inference_mode():
        assert FirstToken(decoding).timer(model)() > 0.0
        assert lengths == [read]
        lengths.clear()
        assert FurtherTokens(decoding).timer(model)() > 0.0
    assert lengths == [read, 1, 1, 1, 1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("name", "configuration", "lengths"),
    [
        ("causal-lm", BASE, (8, 8)),
        ("translation", PAIR, (16, 16)),
        ("summarisation", PAIR, (32, 11)),
    ],
)
def test_a_search_that_limits_the_time_of_a_token_measures_it_before_training(
    make_task_search: Make, name: str, configuration: Configuration, lengths: tuple[int, int]
) -> None:
    limits = {"constraints__max_token_ms": 1e-4, "constraints__max_size_mb": 9.0}
    objective = Objective(make_task_search(name, **limits))
    times = objective.meters.of_untrained("token_ms", configuration)
    assert isinstance(times, MeasuredTimes)
    assert 0.0 < times.min_ms <= times.p10_ms
    with pytest.raises(TrialFailure, match=r"time per token .* ms, more than 0\.0001 ms") as caught:
        objective.evaluate(configuration)
    assert caught.value.latency is not None
    assert caught.value.latency["cost"] == "token_ms"
    assert objective.store.entries("checkpoints") == []


@pytest.mark.slow
def test_onnx_runtime_writes_what_transformers_writes(tmp_path: Path) -> None:
    workload, architecture = Workload(Family.LLAMA, 100, 16), Architecture.of(2, 64)
    torch.manual_seed(0)
    model: Any = build(architecture.shape, workload).eval()
    prompts = torch.randint(5, 100, (2, 6))
    inputs = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
    arguments = Decoding(inputs, new_tokens=8).arguments(8)
    runtime = OnnxDecoder()
    for quantisation in (Quantisation.NONE, Quantisation.RTN_4):
        folder = tmp_path / quantisation
        folder.mkdir()
        spec = ModelSpec(architecture, workload, Compression(quantisation))
        write_compressed(model, spec, [{"input_ids": prompts}], folder)
        runtime.prepare(folder, {}, folder)
        decoder, stored = runtime.open(folder, threads=1), model_file.load(folder)
        with torch.inference_mode():
            expected = stored.generate(**arguments)  # type: ignore[operator]
        assert decoder.generate(**arguments).tolist() == expected.tolist()
    # One graph for both.
    assert len(runtime.graphs) == 1


@pytest.mark.usefixtures("home")
def test_a_result_has_the_costs_that_the_search_names_and_their_conditions(
    make_search: Make, make_task_search: Make
) -> None:
    named = {"constraints__max_token_ms": 1e6, "constraints__max_first_token_ms": 1e6}
    search = make_task_search("causal-lm", **named, measurement__prompt_tokens=10)
    result = Objective(search).evaluate(BASE).to_dict()
    token, first = (result["measured_costs"][name] for name in ("token_ms", "first_token_ms"))
    assert [each["sequence_length"] for each in (token, first)] == [10, 10]
    assert [each["new_tokens"] for each in (token, first)] == [6, 1]
    assert 0.0 < result["token_ms"] <= token["p10_ms"]
    assert token["conditions"] == result["latency"]["conditions"]
    assert "example_ms" not in result

    search = make_search(constraints__max_example_ms=1e6, measurement__large_batch_size=8)
    result = Objective(search).evaluate(BASE).to_dict()
    assert {name: each["batch_size"] for name, each in result["measured_costs"].items()} == {
        "example_ms": 8
    }
    assert 0.0 < result["example_ms"] < result["latency_ms"]


REFUSED = [
    ("classification", {"constraints__max_token_ms": 1.0}, "task classification write no tokens"),
    (
        "masked-lm",
        {"objectives": ["score", "first_token_ms"], "constraints__max_first_token_ms": 1.0},
        "objectives: models of task masked-lm write no tokens",
    ),
    ("causal-lm", {"objectives": ["score", "token_ms"]}, "needs constraints.max_token_ms"),
    (
        "translation",
        {"constraints__max_token_ms": 1.0, "measurement__runtime": "onnxruntime"},
        "token_ms of task translation cannot be measured with measurement.runtime onnxruntime",
    ),
    (
        "causal-lm",
        {"constraints__max_token_ms": 1.0, "measurement__prompt_tokens": 15},
        "after 15 prompt_tokens, models of this search write at most 1",
    ),
    (
        "translation",
        {"constraints__max_token_ms": 1.0, "measurement__prompt_tokens": 17},
        "measurement.prompt_tokens: 17 is more than data.sequence_length, 16",
    ),
    (
        "translation",
        {"constraints__max_token_ms": 1.0, "measurement__new_tokens": 20},
        "measurement.new_tokens: 20 is impossible",
    ),
]


@pytest.mark.parametrize(("name", "fields", "message"), REFUSED)
def test_costs_that_a_task_or_a_runtime_has_not_are_refused(
    make_task_search: Make, name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_task_search(name, **fields)
