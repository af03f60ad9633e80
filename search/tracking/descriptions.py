"""The descriptions in MLflow, in Markdown: of a search's experiment, and of its run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search.formatting import configuration_text, depth_text, latency_summary
from search.hypervolume import Scale, hypervolume_of
from search.mlflow_links import MlflowLinks
from search.pareto import best, frontier
from search.results.training_reuse import TrainingReuse
from search.seeds import Repeats, SeedScores, spread_text
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.saved_views import FRONTIER_VIEW, TRIALS_VIEW
from spaces.cost.criteria import Criteria
from spaces.cost.units import duration, quantity

MAX_ROWS, MAX_ROWS_OF_SEEDS = 24, 18
"""Rows of the frontier's table, and of one with the columns of further seeds: MLflow truncates a
description after 8,000 characters."""


def experiment_description(criteria: Criteria, task: str, links: MlflowLinks) -> str:
    """What an experiment contains and where to start; MLflow's list shows the first line."""
    return (
        f"**Start here:** [the search and its frontier]({links.search()}) · "
        f"[frontier]({links.view(FRONTIER_VIEW)}) · [all trials]({links.view(TRIALS_VIEW)}) · "
        f"[charts]({links.view(TRIALS_VIEW, charts=True)})\n\n"
        f"tlc searches for the models with the best {criteria.metric.name} at each "
        f"{_costs(criteria)}. The task is {task}; `search.yaml` of the search's run has "
        "the dimensions. Each trial trains, compresses and measures one model, and is a run nested "
        "in the search's run. *Views*, above the table, has the same lists."
    )


def search_description(
    study: Study, records: list[TrialRecord], links: MlflowLinks, repeats: Repeats
) -> str:
    """What a search has found so far, and what to do next."""
    search, criteria, scale = study.search, study.search.criteria, Scale.of(study.space)
    members = frontier(records, criteria)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), undefined=StrictUndefined
    )
    tests = study.tests()
    seeds = {r.number: SeedScores.of(r, repeats, tests, criteria.metric) for r in members}
    return environment.get_template("search.md.j2").render(
        search=search,
        metric=criteria.metric,
        cost=criteria.cost,
        costs=_costs(criteria),
        further=criteria.further_metrics,
        further_texts=lambda result: [m.text(result[m.name]) for m in criteria.further_metrics],
        unit=search.space.budget.unit,
        finished=sum(record.is_finished for record in records),
        complete=sum(record.is_complete for record in records),
        members=members,
        references=study.references(),
        shown=_spread(members, MAX_ROWS_OF_SEEDS if repeats else MAX_ROWS),
        seeds={number: scores for number, scores in seeds.items() if scores is not None},
        spread_text=partial(spread_text, metric=criteria.metric.name),
        leaders={
            level: best(records, criteria, {criteria.cost.name: level}) for level in scale.levels()
        },
        hypervolume=hypervolume_of(members, criteria, scale),
        reuse=TrainingReuse.of(records),
        links=links,
        trials_view=TRIALS_VIEW,
        configuration_text=configuration_text,
        depth_text=depth_text,
        latency_summary=latency_summary,
        duration=duration,
        quantity=quantity,
    )


def _costs(criteria: Criteria) -> str:
    return " and ".join(cost.description for cost in criteria.axes)


def _spread(members: list[TrialRecord], most: int) -> list[TrialRecord]:
    """At most ``most`` members, evenly spaced, with both ends."""
    if len(members) <= most:
        return members
    gap = (len(members) - 1) / (most - 1)
    return [members[round(row * gap)] for row in range(most)]
