"""The model card of an exported model, in the format of the Hugging Face Hub."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from objectives.export.bundle import SCRIPT, Bundle
from objectives.export.examples import example_program
from objectives.export.onnx_examples import onnx_program
from objectives.export.prediction_task import PredictionTask
from search.formatting import has_noisy_latency, measured_cost_texts, scored_items, settings_text
from search.storage.budget_facts import data_of
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.units import quantity
from spaces.file.inputs.tables import HubDataset, Tables
from spaces.file.own_task import OwnTask
from spaces.file.sources import (
    SOURCE_FIELDS,
    AlignedFiles,
    ConllFiles,
    Data,
    Digits,
    ImageFolder,
    OfLabelled,
    StandardLibrary,
)

PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
    "translation": "translation",
    "summarisation": "summarization",
    "image-classification": "image-classification",
}
"""The Hub's name of each task."""

MAX_LABELS = 50
"""Classes that a card lists."""


def model_card(study: Study, record: TrialRecord, task: PredictionTask, bundle: Bundle) -> str:
    """The text of ``README.md``: YAML for the Hub, then Markdown."""
    search, result = study.search.alone(record.configuration.checkpoint), record.result
    test = study.tests().get(record.number, {})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        finalize=_escape,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(
        search=search,
        metric=search.metric,
        record=record,
        result=result,
        shape=record.configuration.architecture,
        settings=settings_text(record.configuration),
        latency=result["latency"],
        is_noisy=has_noisy_latency(result),
        measured_costs=measured_cost_texts(result),
        test=test,
        references=study.references(),
        items=scored_items(search.metric.name),
        metadata=_metadata(study, record, test, bundle),
        summary=summary(study, record),
        sources={
            field: _source_text(source)
            for field in SOURCE_FIELDS
            if (source := getattr(search.data, field)) is not None
        },
        data=data_of(study.data, record.configuration.checkpoint),
        task=task,
        max_labels=MAX_LABELS,
        is_own=isinstance(search.task, OwnTask),
        script=SCRIPT,
        example=example_program(task, bundle.checkpoint.model_class if bundle.checkpoint else ""),
        checkpoint=bundle.checkpoint,
        onnx=bundle.onnx,
        onnx_example=onnx_program(task),
        row=_row,
        count="{:,}".format,
        quantity=quantity,
    )


def summary(study: Study, record: TrialRecord) -> str:
    """The size and the score of a model, in two sentences."""
    search, result = study.search, record.result
    return (
        f"{_escape(str(record.configuration))} {search.space.budget.unit}, a model for "
        f"{search.task.name}: {search.metric.name} {search.metric.text(result['score'])} on "
        f"validation at {result['size_bytes']:,} bytes. It was found by tlc, which trains "
        "Transformers of many sizes, compresses them, and keeps what is best at a fixed "
        "inference cost."
    )


def _metadata(study: Study, record: TrialRecord, test: dict[str, Any], bundle: Bundle) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    search, result = study.search.alone(record.configuration.checkpoint), record.result
    compression = record.configuration.compression
    # That of a user's own task is not known.
    pipeline = PIPELINES.get(search.task.name)
    scores = {"validation": result["score"], **({"test": test["score"]} if "score" in test else {})}
    card = ModelCardData(
        model_name=f"{search.name}-{record.number}",
        library_name="transformers" if bundle.checkpoint else "onnx",
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
                task_type=pipeline or "other",
                dataset_type=_dataset_id(search.task.name, search.data),
                dataset_name=_dataset_id(search.task.name, search.data),
                dataset_split=split,
                metric_type=search.metric.name,
                metric_name=f"{split} {search.metric.name}",
                metric_value=score,
            )
            for split, score in scores.items()
        ],
    )  # fmt: skip
    return str(card.to_yaml())


def _source_text(source: Any) -> str:
    """The origin of data; of local files only the names, because cards are shared."""
    match source:
        case StandardLibrary():
            return "the source text of Python's standard library"
        case OfLabelled():
            return "the labelled texts, without their labels"
        case Digits():
            return "scikit-learn's handwritten digits"
        case HubDataset():
            revision = f" at {source.revision}" if source.revision else ""
            config = f" ({source.config})" if source.config else ""
            return f"{source.dataset}{config} of the Hugging Face Hub{revision}"
        case Tables() | ConllFiles() | ImageFolder() | AlignedFiles():
            names = (PurePosixPath(path).name for path in source.inputs("train"))
            return f"local files ({', '.join(names)})"
    raise AssertionError(source)


def _dataset_id(name: str, data: Data) -> str:
    """The name of the data that models are scored on."""
    scored = (data.labelled, data.tagged, data.parallel, data.images, data.unlabelled)
    source: Any = next((each for each in scored if each is not None), None)
    if source is None:
        return name
    return source.dataset if isinstance(source, HubDataset) else str(source.source)


def _row(name: str, value: object) -> Markup:
    """A row of a Markdown table, on a new line."""
    return Markup(f"\n| {_escape(name)} | {_escape(value)} |")


def _escape(value: object) -> str:
    """Text that Markdown and HTML show literally, in one line."""
    if isinstance(value, Markup):
        return value
    plain = escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", plain)
