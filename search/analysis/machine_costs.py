"""What models cost in runtimes of machines; a study keeps what was measured on other ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.errors import UserError

MEASUREMENTS = "tlc:measurements"
"""Attribute of the study: what was imported, in the order in which it was."""
LARGEST_FILE = 1_000_000
"""Bytes of a file of measurements, at most."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class RuntimeCosts(BaseModel):
    """What a model of the frontier costs in a runtime.

    Args:
        machine: Where it was measured.
        latency_ms: 10th percentile; of this machine corrected for a slowed one.
        of_reference: The same divided by that of the dense reference model in this runtime; None of
            what was imported.
    """

    trial: int
    model: str
    score: float
    machine: str
    runtime: str
    threads: int
    batch_size: int
    size_mb: float
    latency_ms: float
    of_reference: float | None = None
    noisy: bool = False


class MeasurementsError(UserError):
    """A file of measurements cannot be imported."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MeasuredRuntime(_Strict):
    """A model in a runtime.

    Args:
        sha256: Of the file that the runtime executes.
        p10_ms: 10th percentile of forward passes, on a batch of full length.
    """

    runtime: Text
    version: Text
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    size_bytes: Count
    min_ms: Milliseconds
    p10_ms: Milliseconds
    p50_ms: Milliseconds


class MeasuredModel(_Strict):
    """What ``load_and_run.py --measure`` of an exported folder writes.

    Args:
        model: Address of the model in the store, a hash of all that determines it.
        machine: Its name.
    """

    format: Literal[1]
    model: Text
    machine: Text
    processor: Text
    threads: Count
    batch_size: Count
    sequence_length: int
    repeats: Count
    measured: Annotated[list[MeasuredRuntime], Field(min_length=1)]

    @property
    def conditions(self) -> tuple[str, str, int, int]:
        """What a later measurement replaces."""
        return self.model, self.machine, self.threads, self.batch_size


def import_measurements(study: Study, files: Iterable[Path]) -> list[MeasuredModel]:
    """Add files of measurements to a study, all or none; those of a model, machine, number of
    threads and batch replace earlier ones.

    Raises:
        MeasurementsError: One cannot be read, or is of no model of this search.
    """
    known = {record.result["model"] for record in study.records() if record.is_complete}
    added: list[MeasuredModel] = []
    for file in files:
        measured = _read(file)
        if measured.model not in known:
            raise MeasurementsError(
                f"{file}: its model is of no complete trial of search {study.name!r}; it was "
                "exported from another search"
            )
        added.append(measured)
    while True:
        before = study.attributes.get(MEASUREMENTS)
        merged = {each.conditions: each for each in [*_parsed(before or []), *added]}
        after = [each.model_dump() for each in merged.values()]
        if before == after or study.exchange(MEASUREMENTS, before, after):
            return added


def imported_costs(study: Study, records: Iterable[TrialRecord]) -> Iterator[RuntimeCosts]:
    """What was imported of the models of some trials."""
    imported = list(_parsed(study.attributes.get(MEASUREMENTS, [])))
    for record in records:
        for model in imported:
            if model.model != record.result["model"]:
                continue
            for each in model.measured:
                yield RuntimeCosts(
                    trial=record.number,
                    model=str(record.configuration),
                    score=record.result["score"],
                    machine=model.machine,
                    runtime=each.runtime,
                    threads=model.threads,
                    batch_size=model.batch_size,
                    size_mb=each.size_bytes / 1e6,
                    latency_ms=each.p10_ms,
                )


def _parsed(values: Iterable[object]) -> Iterator[MeasuredModel]:
    return map(MeasuredModel.model_validate, values)


def _read(file: Path) -> MeasuredModel:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise MeasurementsError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise MeasurementsError(f"{file} is no file of measurements: it has more than 1 MB")
    try:
        return MeasuredModel.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MeasurementsError(
            f"{file} is no file of measurements: {where + ': ' if where else ''}{first['msg']}; "
            "load_and_run.py --measure FILE of an exported folder writes one"
        ) from error
