"""The model card of an exported model, as the Hugging Face Hub reads it."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from objectives.export.bundle import SCRIPT, PredictionTask
from objectives.export.onnx import OnnxModel
from search.formatting import SCORED_ITEMS, has_noisy_latency
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.units import quantity
from spaces.file.sources import (
    SOURCE_FIELDS,
    AlignedFiles,
    Data,
    Digits,
    Files,
    HubDataset,
    ImageFolder,
    StandardLibrary,
)

PIPELINES = {
    "classification": "text-classification",
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
    "translation": "translation",
    "image-classification": "image-classification",
}
"""What the Hub calls each task."""

MOST_LABELS = 50
"""Classes that a card names."""

_EXAMPLES = {
    "classification": '["a text"]',
    "masked-lm": '["a text with a <mask>"]',
    "causal-lm": '["how a text begins"]',
    "translation": '["a sentence"]',
    "image-classification": '["an_image.png"]',
}


def model_card(
    study: Study, record: TrialRecord, task: PredictionTask, onnx: OnnxModel | None
) -> str:
    """The text of ``README.md``: YAML for the Hub, then what a person should know.

    Args:
        study: The record.
        record: The complete trial whose model it is.
        task: What its answers mean.
        onnx: The ONNX model beside it, if there is one.
    """
    test = study.tests().get(record.number, {})
    sections = [
        f"---\n{_metadata(study, record, test)}\n---",
        f"# {study.search.name}, trial {record.number}",
        summary(study, record),
        _table(("", ""), _facts(study, record, test)),
        _data(study, task),
        _use(study, task),
    ]
    if onnx is not None:
        sections.append(_onnx(onnx))
    return "\n\n".join(sections) + "\n"


def summary(study: Study, record: TrialRecord) -> str:
    """What a model is and how good it is, in two sentences."""
    search, result = study.search, record.result
    return (
        f"{_escaped(str(record.configuration))} {search.space.budget.unit}, a model for "
        f"{search.task.name}: {search.metric.name} {search.metric.text(result['score'])} on "
        f"validation at {result['size_bytes']:,} bytes. It was found by tlc, which trains "
        "Transformers of many sizes, compresses them, and keeps what is best at a fixed "
        "inference cost."
    )


def _metadata(study: Study, record: TrialRecord, test: dict[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    search, result = study.search, record.result
    compression = record.configuration.compression
    pipeline = PIPELINES[search.task.name]
    scores = {"validation": result["score"], **({"test": test["score"]} if "score" in test else {})}
    fields = ModelCardData(
        model_name=f"{search.name}-{record.number}",
        library_name="tlc-search",
        pipeline_tag=pipeline,
        tags=[
            "tlc", "train-large-then-compress", search.workload.family.value,
            *(["compressed"] if result["compression_ratio"] > 1.0 else []),
            compression.quantisation.value,
            *([f"pruned-{compression.pruning.value}"] if compression.sparsity else []),
        ],
        metrics=[search.metric.name],
        eval_results=[
            EvalResult(
                task_type=pipeline,
                dataset_type=_dataset_id(search.data),
                dataset_name=_dataset_id(search.data),
                dataset_split=split,
                metric_type=search.metric.name,
                metric_name=f"{split} {search.metric.name}",
                metric_value=score,
            )
            for split, score in scores.items()
        ],
    )  # fmt: skip
    text: str = fields.to_yaml()
    return text


def _facts(study: Study, record: TrialRecord, test: dict[str, Any]) -> list[tuple[str, str]]:
    search, result = study.search, record.result
    metric, latency = search.metric, result["latency"]
    counted = SCORED_ITEMS[metric.name]
    rows = [
        ("task", search.task.name),
        (
            f"{metric.name}, validation",
            f"{result['score']!r} on {result['examples']:,} {counted}; 95 % interval "
            f"{metric.text(result['score_low'])} to {metric.text(result['score_high'])}",
        ),
    ]
    if "score" in test:
        rows.append(
            (f"{metric.name}, test", f"{test['score']!r} on {test['examples']:,} {counted}")
        )
    return [
        *rows,
        (f"{metric.name} before compression", metric.text(result["dense_score"])),
        (
            "size",
            f"{result['size_bytes']:,} bytes, {result['compression_ratio']:.2f} times smaller than "
            f"the dense fp32 model of {result['parameters']:,} parameters",
        ),
        (
            "latency",
            f"{result['latency_ms']:.3g} ms, the 10th percentile of {latency['repeats']} calls at "
            f"the machine's usual speed (p10 {latency['p10_ms']:.3g}, p50 {latency['p50_ms']:.3g}, "
            f"p95 {latency['p95_ms']:.3g}); batch {latency['batch_size']}, "
            f"{latency['sequence_length']} tokens, {latency['threads']} threads, "
            f"{latency['device']} {latency['processor']}"
            + ("; other programs disturbed the machine" if has_noisy_latency(result) else ""),
        ),
        ("FLOPs", f"{quantity(result['flops'])}FLOPs in a forward pass of one input"),
        ("compression", str(record.configuration.compression)),
        (
            "training",
            f"budget {record.configuration.budget:g} {search.space.budget.unit}; "
            f"{result['steps']['total']:,} steps of {search.training.batch_size} in all, "
            f"{quantity(result['training_flops'])}FLOPs",
        ),
        ("architecture", _architecture(record, search.workload.family.value)),
        ("versions", ", ".join(f"{k} {v}" for k, v in result["versions"].items())),
    ]


def _architecture(record: TrialRecord, family: str) -> str:
    shape = record.configuration.architecture
    decoder = f" and {shape.decoder_depth} of the decoder" if shape.decoder_depth else ""
    return (
        f"{family}: {shape.depth} layers{decoder}, width {shape.width}, {shape.heads} heads, "
        f"feed-forward {shape.feed_forward}, before pruning"
    )


def _data(study: Study, task: PredictionTask) -> str:
    search, data = study.search, study.data
    rows = [
        (field, _source(getattr(search.data, field)))
        for field in SOURCE_FIELDS
        if getattr(search.data, field) is not None
    ]
    rows += [(name, f"{count:,}") for name, count in data["counts"].items()]
    rows.append(("fingerprint (SHA-256)", data["fingerprint"]))
    if task.labels:
        named = ", ".join(task.labels[:MOST_LABELS])
        rest = len(task.labels) - MOST_LABELS
        rows.append(("classes", named + (f" and {rest} more" if rest > 0 else "")))
    return (
        "## Data\n\nThe model was chosen on the validation split. The test split was read once, "
        f"at the end.\n\n{_table(('', ''), rows)}"
    )


def _source(source: Any) -> str:
    """Where data came from; of local files only the names, for a card is made to be shared."""
    match source:
        case StandardLibrary():
            return "the source text of Python's standard library"
        case Digits():
            return "scikit-learn's handwritten digits"
        case HubDataset():
            revision = f" at {source.revision}" if source.revision else ""
            config = f" ({source.config})" if source.config else ""
            return f"{source.dataset}{config} of the Hugging Face Hub{revision}"
        case Files() | ImageFolder():
            return f"local files ({_last(source.train)})"
        case AlignedFiles():
            return f"local files ({', '.join(_last(path) for path in source.train)})"
    raise AssertionError(source)


def _dataset_id(data: Data) -> str:
    """The data that models are scored on, as a name."""
    source: Any = data.labelled or data.parallel or data.images or data.unlabelled
    return source.dataset if isinstance(source, HubDataset) else str(source.source)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _use(study: Study, task: PredictionTask) -> str:
    example = '[("a text", "another")]' if task.takes_pairs else _EXAMPLES[task.name]
    script = f"python {SCRIPT}"
    return f"""## How to use it

With tlc installed, `{script}` answers one input, and in Python:

```python
from pathlib import Path

from objectives.export.inference import load

model = load(Path("."))  # this folder
for answer in model.predict({example}):
    print(answer)
```

The files are checked against their SHA-256 when they are loaded; there is no pickle. Inputs are
cut, joined and decoded exactly as when the model was scored. The validation score above comes out
again, to the last digit on the machine of the search, in the folder that the search ran in:

```python
from pathlib import Path

from objectives.objective import Objective
from search.cli.options import open_study

study = open_study("{study.search.name}", None)
print(Objective(study.search).score(Path("."), "validation").value)
```"""


def _onnx(onnx: OnnxModel) -> str:
    inputs = ", ".join(
        f"`{name}` ({' × '.join(map(str, shape))})" for name, shape in onnx.inputs.items()
    )
    weights = (
        "Linear layers are int8 between QuantizeLinear and DequantizeLinear (QDQ); embeddings are "
        "dense fp32"
        if onnx.is_int8
        else "Weights are dense fp32, whatever `model.safetensors` stores them in"
    )
    rounding = (
        " Inputs that lie between two int8 codes may round either way." if onnx.is_int8 else ""
    )
    return (
        f"## ONNX\n\n`model.onnx` takes {inputs} and gives `logits`; opset {onnx.opset}. "
        f"{weights}: {onnx.size_bytes:,} bytes. On real inputs, {onnx.compared:,} logits of ONNX "
        f"Runtime differ from the model's by at most {onnx.largest_difference:.2g} (mean "
        f"{onnx.mean_difference:.2g}); the largest logit is {onnx.largest_logit:.3g}.{rounding}"
    )


def _table(heads: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {heads[0]} | {heads[1]} |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {_escaped(k)} | {_escaped(v)} |" for k, v in rows)])


def _escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is, in one line."""
    plain = escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", plain)
