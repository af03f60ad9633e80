"""A search file for data that a person named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.data.inspection.discovery import find
from objectives.data.inspection.finding import Finding
from search.proposal.contents import Contents, contents_of
from search.proposal.from_checkpoint import checkpoint_name, from_checkpoint
from search.proposal.machine import Machine
from search.proposal.spaces import PRETRAINED, smaller, space_of, training_of
from search.proposal.yaml_text import yaml_text
from spaces.file.model import Model
from spaces.file.sources import Data
from spaces.file.tasks import METRICS
from spaces.grid.plan import Plan, make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import from_document, with_model

TRIALS = 60
MOST_HOURS = 0.5
"""Of a first search: what takes longer gets smaller budgets."""
HOURS_STEP = 0.05
SECONDS_OF_A_TRIAL = 4.0
"""Beside its training: compression and measurement."""
IMBALANCE = 0.8
"""Fraction of the largest class from which on accuracy says little."""


@dataclass(frozen=True)
class Proposal:
    """A search file, and what was found for it.

    Args:
        document: The values of the file.
        text: The file, with comments.
        notes: What was seen and decided, as sentences.
    """

    document: dict[str, Any]
    text: str
    notes: tuple[str, ...]


def propose(
    names: Sequence[str], folder: Path, machine: Machine, checkpoint: str | None = None
) -> Proposal:
    """Look at data, and propose a search of models for it.

    Args:
        names: Paths or a data set of the Hub, as of ``find``.
        folder: Of prepared data, into which data sets are downloaded.
        checkpoint: What models start from; random weights by default.

    Raises:
        DataError: The data cannot be read, or is of no form that tlc reads.
        SearchFileError: It has what no search reads.
        UserError: The checkpoint is missing, damaged or not suited to the task.
    """
    finding = find(names, folder / "datasets")
    # The rest of the search is not known before the data is read.
    checked = from_document(_provisional(finding), origin="data")
    contents = contents_of(checked.data, checked.task, folder)
    document = _document(names, finding, contents, machine)
    opened: tuple[Model, Data] | None = None
    notes = _notes(finding)
    if checkpoint is not None:
        name = checkpoint_name(checkpoint)
        document, model, data = from_checkpoint(document, contents.facts, name, folder)
        opened = model, data
        notes.append(f"models start from {name}: layers, heads and vocabulary are cut")
    document, plan = _within_hours(document, contents, machine, opened)
    head = [
        f"Written by tlc for {', '.join(names)} and a machine of {machine.text}; change what you "
        f"like (tlc schema lists all fields), then: tlc run {document['name']}.yaml",
    ]
    text = yaml_text(document, _comments(document, finding, contents, plan), head)
    if contents.classes:
        notes.append(f"{len(contents.classes):,} classes: {contents.classes_text}")
    if contents.majority >= IMBALANCE and "macro-f1" in document["objectives"]:
        notes.append(
            f"{contents.majority:.0%} are of one class: scored by macro-F1, in which every class "
            "counts alike"
        )
    return Proposal(document, text, tuple(notes))


def search_name(names: Sequence[str]) -> str:
    """A name for the search of some data: that of its file, or of its folder."""
    path = Path(names[0]).resolve() if Path(names[0]).exists() else Path(names[0])
    stem = path.name.split(".")[0]
    if re.fullmatch(r"(?i)(train|training|data|dataset)?", stem) and path.parent.name:
        stem = path.parent.name
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64]
    return name or "search"


def _provisional(finding: Finding) -> dict[str, Any]:
    """A search with the data of a finding, which is read for the rest."""
    task = dict(finding.task)
    if task["name"] in ("classification", "token-classification", "image-classification"):
        task["classes"] = 2
    return {
        "name": "data",
        "task": task,
        "data": dict(finding.data),
        "space": {
            "depth": 1,
            "width": 32,
            "budget": {"unit": "steps", "choices": [100]},
            "quantisation": {"choices": ["none"]},
            "sparsity": 0.0,
        },
        "training": {},
        "objectives": ["score", "size_mb"],
        "trials": 1,
    }


def _document(
    names: Sequence[str], finding: Finding, contents: Contents, machine: Machine
) -> dict[str, Any]:
    task = finding.task["name"]
    fields = dict(finding.task)
    if contents.classes:
        fields["classes"] = len(contents.classes)
    metric = METRICS[task]
    if contents.majority >= IMBALANCE and metric == "accuracy":
        metric = "macro-f1"
    return {
        "name": search_name(names),
        "task": fields,
        "data": {**finding.data, **contents.sizes},
        "space": space_of(task, contents.facts, machine),
        "training": training_of(task, contents.facts, machine),
        "objectives": [metric, "size_mb"],
        "trials": TRIALS,
        "hours": MOST_HOURS,
        "seed": 0,
    }


def _within_hours(
    document: dict[str, Any],
    contents: Contents,
    machine: Machine,
    opened: tuple[Model, Data] | None,
) -> tuple[dict[str, Any], Plan]:
    """The document with the largest space of which all trials fit into the hours of a first search,
    and its plan."""
    examples = int(contents.facts["examples"]) if document["task"]["name"] in PRETRAINED else None
    while True:
        search = from_document(document, origin=document["name"])
        if opened is not None:
            search = with_model(search, *opened)
        plan = make_plan(SearchSpace(search), search.trials, labelled_examples=examples)
        training = (plan.training_flops or 0.0) / machine.flops
        seconds = (training + SECONDS_OF_A_TRIAL * plan.trials) / machine.trials_at_a_time
        hours = HOURS_STEP * math.ceil(seconds / 3600 / HOURS_STEP)
        space = smaller(document["space"])
        if hours <= MOST_HOURS or space is None:
            return {**document, "hours": round(min(hours, 2 * MOST_HOURS), 2)}, plan
        document = {**document, "space": space}


def _comments(
    document: Mapping[str, Any], finding: Finding, contents: Contents, plan: Plan
) -> dict[str, str]:
    """What stands above the fields of the file."""
    task = finding.task["name"]
    width = "channels of a layer's heads" if "model" in document else "hidden size"
    comments = {
        "data": " ".join(f"{note[:1].upper()}{note[1:]}." for note in _notes(finding)),
        "space": (
            f"{plan.configurations:,} configurations: depth is layers, width the {width}, "
            "budget the steps of training, then compression. tlc plan shows what they cost."
        ),
        "trials": "Whichever comes first. The same command resumes a search with more of both.",
        "training": "One recipe for all sizes (docs/tasks.md).",
    }
    if contents.classes:
        comments["task"] = f"Training examples: {contents.classes_text}."
    if "vocabulary_size" in document["data"]:
        comments["data.vocabulary_size"] = (
            "Pieces of the vocabulary, of which 95 % occur 100 times in the training text."
        )
        comments["data.sequence_length"] = (
            "Tokens of a text; 99 % of the training texts have fewer."
        )
    if task in ("causal-lm", "masked-lm") and "model" not in document:
        comments["data.sequence_length"] = "Tokens that models read at once."
    return comments


def _notes(finding: Finding) -> list[str]:
    """What was found, and which splits are missing."""
    source = next(
        finding.data[key]
        for key in ("labelled", "tagged", "parallel", "images", "unlabelled")
        if key in finding.data
    )
    missing = [split for split in ("validation", "test") if split not in source]
    if not missing:
        return [*finding.notes]
    return [
        *finding.notes,
        f"there is no {' and no '.join(missing)} split: a tenth of train is held out for each",
    ]
