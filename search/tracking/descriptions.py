"""The descriptions in MLflow, in Markdown: of a search's experiment, and of its run."""

from __future__ import annotations

from search.formatting import configuration_text, depth_text
from search.mlflow_links import MlflowLinks
from search.pareto import Scale, best, frontier, hypervolume_of
from search.results.schemas import TrainingReuse
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.saved_views import FRONTIER_VIEW, TRIALS_VIEW
from spaces.cost.criteria import Criteria
from spaces.cost.units import duration, quantity

MAX_ROWS = 24
"""Rows of the frontier's table: MLflow truncates a description after 8,000 characters."""


def experiment_description(criteria: Criteria, task: str, links: MlflowLinks) -> str:
    """What an experiment contains and where to start; MLflow's list shows the first line."""
    return (
        f"**Start here:** [the search and its frontier]({links.search()}) · "
        f"[frontier]({links.view(FRONTIER_VIEW)}) · [all trials]({links.view(TRIALS_VIEW)}) · "
        f"[charts]({links.view(TRIALS_VIEW, charts=True)})\n\n"
        f"tlc searches for the models with the best {criteria.metric.name} at each "
        f"{criteria.cost.description}. The task is {task}; `search.yaml` of the search's run has "
        "the dimensions. Each trial trains, compresses and measures one model, and is a run nested "
        "in the search's run. *Views*, above the table, has the same lists."
    )


def search_description(study: Study, records: list[TrialRecord], links: MlflowLinks) -> str:
    """What a search has found so far, and what to do next."""
    criteria = study.search.criteria
    members = frontier(records, criteria)
    parts = [
        _progress(study, records, members),
        f"[Charts over trials and compute]({links.search('model-metrics')}) · "
        f"[frontier, interactive]({links.search('artifacts/frontier/frontier.html')}) · "
        f"[parallel coordinates]"
        f"({links.search('artifacts/frontier/parallel_coordinates.html')}) · "
        f"[all trials]({links.view(TRIALS_VIEW)}) · "
        f"[training curves]({links.view(TRIALS_VIEW, charts=True)})",
    ]
    if members:
        shown = f" ({MAX_ROWS} of {len(members)})" if len(members) > MAX_ROWS else ""
        parts += [
            f"#### Frontier: the best {criteria.metric.name} at each "
            f"{criteria.cost.description}{shown}",
            _frontier_table(_spread(members), study, links),
            "#### Best within a limit",
            _levels_table(records, study, links),
            "#### Next",
            _commands(members, study),
        ]
    return "\n\n".join(parts)


def _progress(study: Study, records: list[TrialRecord], members: list[TrialRecord]) -> str:
    finished = sum(record.is_finished for record in records)
    failed = finished - sum(record.is_complete for record in records)
    volume = hypervolume_of(members, study.search.criteria, Scale.of(study.space))
    reuse = TrainingReuse.of(records)
    text = (
        f"**{finished} of {study.search.trials} trials** are finished ({failed} failed), "
        f"**{len(members)}** are on the frontier. Hypervolume **{volume:.3f}**: the fraction that "
        "the frontier dominates of all scores between guessing and perfect, at any cost (1 is all)."
    )
    if reuse.steps_total:
        text += (
            f" Trials reused {reuse.steps_reused / reuse.steps_total:.0%} of their training: "
            f"{duration(reuse.seconds_trained)} spent, "
            f"{duration(reuse.seconds_saved)} saved."
        )
    return text


def _spread(members: list[TrialRecord]) -> list[TrialRecord]:
    """At most ``MAX_ROWS`` members, evenly spaced, with both ends."""
    if len(members) <= MAX_ROWS:
        return members
    gap = (len(members) - 1) / (MAX_ROWS - 1)
    return [members[round(row * gap)] for row in range(MAX_ROWS)]


def _frontier_table(members: list[TrialRecord], study: Study, links: MlflowLinks) -> str:
    metric = study.search.metric
    budget = f"budget ({study.search.space.budget.unit})"
    rows: list[tuple[str, ...]] = [
        ("trial", "depth", "width", budget, "compression", metric.name, "95 % interval", "MB", "ms")
    ]
    for record in members:
        result, configuration = record.result, record.configuration
        architecture = configuration.architecture
        rows.append(
            (
                _link(record, links),
                depth_text(architecture.depth, architecture.decoder_depth),
                f"{architecture.width}",
                quantity(configuration.budget).strip(),
                f"{configuration.compression}",
                metric.text(result["score"]),
                f"{metric.text(result['score_low'])} to {metric.text(result['score_high'])}",
                f"{result['size_mb']:.3f}",
                f"{result['latency_ms']:.2f}",
            )
        )
    return _table(rows)


def _levels_table(records: list[TrialRecord], study: Study, links: MlflowLinks) -> str:
    criteria, unit = study.search.criteria, study.search.space.budget.unit
    rows: list[tuple[str, ...]] = [("at most", criteria.metric.name, "trial", "configuration")]
    for level in Scale.of(study.space).levels():
        leader = best(records, criteria, {criteria.cost.name: level})
        if leader is not None:
            score = criteria.metric.text(leader.result["score"])
            configuration = configuration_text(leader.configuration, unit)
            rows.append((criteria.cost.text(level), score, _link(leader, links), configuration))
    return _table(rows)


def _commands(members: list[TrialRecord], study: Study) -> str:
    name, cost = study.search.name, study.search.cost
    middle = members[len(members) // 2]
    commands = {
        f"tlc best {name} {cost.option} {middle.result[cost.name] * 1.05:.2g}": (
            "the best within a limit"
        ),
        f"tlc show {name} {middle.number}": "all values of a trial",
        f"tlc report {name}": "a page to send to others",
    }
    width = max(map(len, commands))
    lines = [f"{command:<{width}}  # {purpose}" for command, purpose in commands.items()]
    return "\n".join(["```", *lines, "```"])


def _link(record: TrialRecord, links: MlflowLinks) -> str:
    page = links.trial(record.number)
    return f"[#{record.number}]({page})" if page else f"#{record.number}"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
