"""Commands that take the winning model away."""

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
@click.option("--trial", type=click.IntRange(min=0), help="The model of this trial instead.")
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new folder."
)
@click.option("--onnx", "with_onnx", is_flag=True, help="Write model.onnx too, and check it.")
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

    It holds the weights as they are stored, the tokenizer, the labels, a model card and a script
    that answers one input. When nothing meets the limits, nothing is written and the exit code
    is 3.
    """
    if trial is not None and limits:
        raise click.UsageError("--trial names the model; limits choose one: give one or the other")
    study = open_study(name, url)
    record = _chosen(study, limits, trial, url)
    if record is None:
        return NOTHING_FOUND
    from search.cli.model_tables import print_export
    from search.registry.export import export as export_model

    with make_console().status("exporting"):
        made = export_model(study, record, to, with_onnx=with_onnx)
    print_export(study, record, made, make_console())
    return 0


@click.command()
@click.argument("name")
@limited
@click.option("--as", "model", required=True, metavar="MODEL_NAME", help="Its name in MLflow.")
@study_url
def register(name: str, limits: dict[str, float], model: str, url: str | None) -> int:
    """Register the best model of the search NAME within limits in MLflow's Model Registry.

    The alias champion points to it, and an alias for each fixed cost level, such as
    size-mb-0-12, to the best model at that cost. A model that is there already is not registered
    again. When nothing meets the limits, nothing is registered and the exit code is 3.
    """
    study = open_study(name, url)
    record = _chosen(study, limits, None, url)
    if record is None:
        return NOTHING_FOUND
    from search.cli.model_tables import print_registration
    from search.registry.registry import register as register_models

    with make_console().status("registering"):
        made = register_models(study, record, model)
    print_registration(study, made, make_console())
    return 0


def _chosen(
    study: Study, limits: dict[str, float], trial: int | None, url: str | None
) -> TrialRecord | None:
    """The trial of a number, or the best within limits; None, and told, where there is none."""
    from search.cli.printing import print_best

    if trial is not None:
        from search.registry.export import complete_trial

        return complete_trial(study, trial)
    name = study.search.name
    answer = open_queries(url, None).best(name, limits)
    if answer.is_within and answer.trial is not None:
        return study.record(answer.trial.trial)
    print_best(name, answer, make_console())
    return None
