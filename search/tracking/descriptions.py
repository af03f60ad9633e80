"""The descriptions in MLflow, in Markdown: of a search's experiment, and of its run."""

from __future__ import annotations

from search.formatting import configuration_text
from search.mlflow_links import MlflowLinks
from search.pareto import Scale, best, frontier, hypervolume_of
from search.results.training_reuse import training_reuse
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.saved_views import FRONTIER_VIEW, TRIALS_VIEW
from spaces.cost.units import duration, quantity
from spaces.file.search_file import SearchFile

MOST_ROWS = 24
"""Members of the frontier in a note: MLflow cuts one off after 8,000 characters."""
AXES = {"size_mb": "size on disk", "latency_ms": "latency", "flops": "forward FLOPs"}


def experiment_description(search: SearchFile, links: MlflowLinks) -> str:
    """What an experiment is, and where to look first; its page shows the first line."""
    return "\n\n".join(
        [
            f"**Start here:** [the search and its frontier]({links.search()}) · "
            f"[frontier]({links.view(FRONTIER_VIEW)}) · [all trials]({links.view(TRIALS_VIEW)}) · "
            f"[charts]({links.view(TRIALS_VIEW, charts=True)})",
            f"tlc searches for the models with the best {search.metric.name} at each "
            f"{search.cost.description}: task {search.task.name}, dimensions in `search.yaml` of "
            "its run. Each trial trains, compresses and measures a model, and is a run nested in "
            "the search's run. *Views*, above the table, has the same lists.",
        ]
    )


def search_description(study: Study, records: list[TrialRecord], links: MlflowLinks) -> str:
    """What a search has found so far, and what to do next."""
    search = study.search
    members = frontier(records, search.criteria)
    parts = [
        _standing(study, records, members),
        f"[Charts over trials and compute]({links.search('model-metrics')}) · "
        f"[frontier, interactive]({links.search('artifacts/frontier/frontier.html')}) · "
        f"[parallel coordinates]"
        f"({links.search('artifacts/frontier/parallel_coordinates.html')}) · "
        f"[all trials]({links.view(TRIALS_VIEW)}) · "
        f"[training curves]({links.view(TRIALS_VIEW, charts=True)})",
    ]
    if members:
        parts += [
            f"#### Frontier: the best {search.metric.name} at each {search.cost.description}"
            + (f" ({MOST_ROWS} of {len(members)})" if len(members) > MOST_ROWS else ""),
            _frontier_table(_spread(members), search, links),
            "#### Best within a limit",
            _levels_table(records, study, links),
            "#### Next",
            _commands(members, search),
        ]
    return "\n\n".join(parts)


def _standing(study: Study, records: list[TrialRecord], members: list[TrialRecord]) -> str:
    search = study.search
    finished = sum(record.is_finished for record in records)
    failed = finished - sum(record.is_complete for record in records)
    volume = hypervolume_of(members, search.criteria, Scale.of(study.space))
    saved = training_reuse(records)
    sentences = [
        f"**{finished} of {search.trials} trials** are finished ({failed} failed), "
        f"**{len(members)}** are on the frontier.",
        f"Hypervolume **{volume:.3f}**: the share that the frontier covers of all that lies "
        "between guessing and perfect, at any cost (1 is all).",
    ]
    if saved["steps_total"]:
        share = saved["steps_reused"] / saved["steps_total"]
        sentences.append(
            f"Trials shared {share:.0%} of their training: "
            f"{duration(saved['seconds_trained'])} spent, "
            f"{duration(saved['seconds_saved'])} saved."
        )
    return " ".join(sentences)


def _spread(members: list[TrialRecord]) -> list[TrialRecord]:
    """As many as a note can hold, evenly over the frontier with its two ends."""
    if len(members) <= MOST_ROWS:
        return members
    gap = (len(members) - 1) / (MOST_ROWS - 1)
    return [members[round(place * gap)] for place in range(MOST_ROWS)]


def _frontier_table(members: list[TrialRecord], search: SearchFile, links: MlflowLinks) -> str:
    metric = search.metric
    budget = f"budget ({search.space.budget.unit})"
    rows: list[tuple[str, ...]] = [
        ("trial", "depth", "width", budget, "compression", metric.name, "95 % interval", "MB", "ms")
    ]
    for record in members:
        result, configuration = record.result, record.configuration
        architecture = configuration.architecture
        decoder = f"+{architecture.decoder_depth}" if architecture.decoder_depth else ""
        rows.append(
            (
                _link(record, links),
                f"{architecture.depth}{decoder}",
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
    search = study.search
    rows: list[tuple[str, ...]] = [("at most", search.metric.name, "trial", "configuration")]
    for level in Scale.of(study.space).levels():
        leader = best(records, search.criteria, {search.cost.name: level})
        if leader is not None:
            score = search.metric.text(leader.result["score"])
            limit = search.cost.text(level)
            rows.append(
                (
                    limit,
                    score,
                    _link(leader, links),
                    configuration_text(leader.configuration, search.space.budget.unit),
                )
            )
    return _table(rows)


def _commands(members: list[TrialRecord], search: SearchFile) -> str:
    middle = members[len(members) // 2]
    limit = middle.result[search.cost.name] * 1.05
    commands = [
        (f"tlc best {search.name} {search.cost.option} {limit:.2g}", "the best within a limit"),
        (f"tlc show {search.name} {middle.number}", "everything about a trial"),
        (f"tlc report {search.name}", "a page to send to others"),
    ]
    width = max(len(command) for command, _ in commands)
    lines = [f"{command:<{width}}  # {purpose}" for command, purpose in commands]
    return "\n".join(["```", *lines, "```"])


def _link(record: TrialRecord, links: MlflowLinks) -> str:
    page = links.trial(record.number)
    return f"[#{record.number}]({page})" if page else f"#{record.number}"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
