"""Commands that export a model or register it in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.options import (
    NOTHING_FOUND,
    limited,
    make_console,
    open_queries,
    open_study,
    study_url,
)

if TYPE_CHECKING:
    from search.storage.study import Study
    from search.storage.trials import TrialRecord


@click.command()
@click.argument("name")
@limited
@click.option("--trial", type=click.IntRange(min=0), help="Export the model of this trial.")
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to create."
)
@click.option("--onnx", "with_onnx", is_flag=True, help="Also write model.onnx, and verify it.")
@study_url
def export(
    name: str,
    limits: dict[str, float],
    trial: int | None,
    to: Path,
    with_onnx: bool,
    url: str | None,
) -> int:
    """Export the best model of the search NAME within limits into a folder.

    The folder holds the weights as stored, the tokenizer, the labels, a model card and a script
    that runs the model on one input. If no model meets the limits, the command writes nothing and
    exits with code 3.
    """
    if trial is not None and limits:
        raise click.UsageError("give either --trial or limits, not both")
    study = open_study(name, url)
    record = _chosen(study, limits, trial, url)
    if record is None:
        return NOTHING_FOUND
    from search.cli.export_output import print_export
    from search.registry.export import export as export_model

    with make_console().status("exporting"):
        made = export_model(study, record, to, with_onnx=with_onnx)
    print_export(study, record, made, make_console())
    return 0


@click.command()
@click.argument("name")
@limited
@click.option("--as", "model", required=True, metavar="MODEL_NAME", help="Name in the registry.")
@study_url
def register(name: str, limits: dict[str, float], model: str, url: str | None) -> int:
    """Register the best model of the search NAME within limits in MLflow's Model Registry.

    The alias champion points to it. An alias for each fixed cost level, such as size-mb-0-12,
    points to the best model at that cost. A registered model is not registered again. If no model
    meets the limits, the command registers nothing and exits with code 3.
    """
    study = open_study(name, url)
    record = _chosen(study, limits, None, url)
    if record is None:
        return NOTHING_FOUND
    from search.cli.export_output import print_registration
    from search.registry.registry import register as register_models

    with make_console().status("registering"):
        made = register_models(study, record, model)
    print_registration(study, made, make_console())
    return 0


def _chosen(
    study: Study, limits: dict[str, float], trial: int | None, url: str | None
) -> TrialRecord | None:
    """The trial with a number, or the best within limits; prints the nearest if there is none."""
    from search.cli.output import print_best

    if trial is not None:
        from search.registry.export import complete_trial

        return complete_trial(study, trial)
    name = study.search.name
    found = open_queries(url, None).best(name, limits)
    if found.is_within and found.trial is not None:
        return study.record(found.trial.trial)
    print_best(name, found, make_console())
    return None
