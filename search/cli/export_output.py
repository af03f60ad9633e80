"""The text output of ``tlc export`` and ``tlc register``."""

from __future__ import annotations

import os

from rich.console import Console

from objectives.export.bundle import SCRIPT
from search.formatting import cost_summary
from search.registry.export import ExportedModel
from search.registry.registry import Registration
from search.storage.study import Study
from search.storage.trials import TrialRecord


def print_export(study: Study, record: TrialRecord, made: ExportedModel, console: Console) -> None:
    """Print which model was exported, its folder, and how to run it."""
    console.print(_description(study, record), style="bold", highlight=False)
    folder = os.path.relpath(made.folder)
    console.print(f"{folder}: {', '.join(made.files)}", soft_wrap=True, highlight=False)
    if made.onnx is not None:
        onnx = made.onnx
        kind = "int8 (QDQ)" if onnx.is_int8 else "dense fp32"
        console.print(
            f"model.onnx: {kind}, {onnx.size_bytes:,} bytes; {onnx.compared:,} logits of ONNX "
            f"Runtime differ by at most {onnx.largest_difference:.2g}, the largest is "
            f"{onnx.largest_logit:.3g}",
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"next: python {os.path.join(folder, SCRIPT)}", soft_wrap=True, highlight=False)


def print_registration(study: Study, made: Registration, console: Console) -> None:
    """Print the versions, their aliases, and how to load them."""
    for version in made.versions:
        state = "registered" if version.is_new else "was registered before"
        console.print(
            f"{made.name} version {version.number} {state}: "
            f"{_description(study, study.record(version.trial))}",
            soft_wrap=True,
            highlight=False,
        )
        console.print(f"  {', '.join(version.aliases)}", highlight=False)
    uri = f"models:/{made.name}@champion"
    console.print(f"MLflow: {made.tracking_uri}", soft_wrap=True, highlight=False)
    console.print(f'load: mlflow.pyfunc.load_model("{uri}")', soft_wrap=True, highlight=False)


def _description(study: Study, record: TrialRecord) -> str:
    metric, result = study.search.metric, record.result
    return (
        f"#{record.number} {record.configuration}: {metric.name} {metric.text(result['score'])}, "
        f"{cost_summary(result, study.search.cost.name)}"
    )
