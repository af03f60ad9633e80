"""Deleting a search: its study, its runs in MLflow, and what only it has in the store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from objectives.store.manifest import CHECKPOINTS, Entry, parse_checkpoint_address
from objectives.store.store import Store
from search.maintenance.holding import not_running
from search.results.changes import PlannedDeletion
from search.storage.function_study import FunctionStudy, load_every
from search.storage.removal import remove
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.removal import delete_runs
from spaces.file.storage import Locations, home


@dataclass(frozen=True)
class Deletion:
    """What is deleted with a search.

    Args:
        name: Name of the search.
        trials: Its trials, with repeats.
        entries: Checkpoints and models that no other search of the same database, and no frontier
            of another one, uses.
        needed_by: Searches that start from its trials.
    """

    name: str
    trials: int
    entries: tuple[Entry, ...]
    needed_by: tuple[str, ...]

    @property
    def size_gb(self) -> float:
        """Gigabytes (10^9 bytes) of the entries."""
        return sum(entry.size_bytes for entry in self.entries) / 1e9

    @property
    def summary(self) -> PlannedDeletion:
        """What it deletes, in numbers."""
        return PlannedDeletion(
            name=self.name,
            trials=self.trials,
            entries=len(self.entries),
            size_gb=self.size_gb,
            needed_by=list(self.needed_by),
        )

    def __str__(self) -> str:
        return str(self.summary)


def planned_deletion(study: Study | FunctionStudy, url: str) -> Deletion:
    """What would be deleted with a search.

    Args:
        url: SQLAlchemy URL of the study.
    """
    others = [each for each in load_every(url) if each.name != study.name]
    needed_by = tuple(each.name for each in others if study.name in each.search.from_searches)
    if isinstance(study, Study):
        own = _every(study)
        files = [each for each in others if isinstance(each, Study)]
        entries = tuple(_unshared_entries(study, own, files))
        return Deletion(study.name, len(own), entries, needed_by)
    records, repeats = study.records_and_repeats()
    return Deletion(study.name, len(records) + len(repeats), (), needed_by)


def delete(study: Study | FunctionStudy, url: str) -> Deletion:
    """Delete a search; after an interruption the same call continues. Returns what was deleted.

    Registered models stay.

    Raises:
        BusyStudy: It is running.
        MlflowUnavailable: MLflow cannot be reached; nothing was deleted.
    """
    with not_running(study):
        deletion = planned_deletion(study, url)
        where, study_id = Locations.of(study.search.storage), study.study_id
        delete_runs(study.name, study_id, where)
        store = Store(where.store_url)
        store.pins.remove(study_id)
        for entry in deletion.entries:
            store.remove(entry.address)
        shutil.rmtree(where.reports / study.name, ignore_errors=True)
        shutil.rmtree(home() / "trials" / f"{study.name}-{study_id}", ignore_errors=True)
        for file in (f"logs/{study.name}.log", f"searches/{study.name}.yaml"):
            (home() / file).unlink(missing_ok=True)
        # The record goes last: it says what else there is to delete.
        remove(study)
        return deletion


def _unshared_entries(
    study: Study, own: Iterable[TrialRecord], others: Iterable[Study]
) -> list[Entry]:
    """Entries of the store that only this search uses, with its trials."""
    store = Store(Locations.of(study.search.storage).store_url)
    kept = _uses(record for each in others for record in _every(each))
    pinned = store.pins.read(except_of=study.study_id)
    prefixes = _uses(own) - kept - {_path(address) for address in pinned}
    return [entry for prefix in sorted(prefixes) for entry in store.entries(prefix)]


def _every(study: Study) -> list[TrialRecord]:
    records, repeats = study.records_and_repeats()
    return [*records, *repeats]


def _uses(records: Iterable[TrialRecord]) -> set[str]:
    """Addresses of the models of some trials, and of the training paths that led to them."""
    found: set[str] = set()
    for record in records:
        if record.is_complete:
            result = record.result
            found |= {result["model"], _path(result["checkpoint"])}
            found |= {f"{CHECKPOINTS}/{stage['key']}" for stage in result["stages"]}
    return found


def _path(address: str) -> str:
    """The training path of a checkpoint; of another entry its address."""
    checkpoint = parse_checkpoint_address(address)
    return address if checkpoint is None else checkpoint[0]
