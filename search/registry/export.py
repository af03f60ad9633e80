"""Exports the model of a trial as a folder that runs without tlc, with its model card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from objectives.data.prepared_data import PreparedData, find_prepared_data
from objectives.export.bundle import Bundle, write_bundle
from objectives.export.evaluation import write_examples
from objectives.export.onnx import check_packages
from objectives.export.prediction_task import PredictionTask
from objectives.store.store import Store
from objectives.tasks import make_task, prepare_for
from search.registry.model_card import model_card
from search.storage.errors import StudyError
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.errors import UserError
from spaces.file.own_task import OwnTask
from spaces.file.storage import Locations


class ExportError(UserError):
    """The model cannot be exported, or the target folder cannot be used."""


class ExportedModel(NamedTuple):
    """A model that was exported."""

    trial: int
    """The trial whose model it is."""
    folder: Path
    files: tuple[str, ...]
    bundle: Bundle


def complete_trial(study: Study, number: int) -> TrialRecord:
    """A complete trial, which has a model.

    Raises:
        UserError: There is no such trial, or it has no result.
    """
    record = study.record(number)
    if not record.is_complete:
        raise ExportError(
            f"trial {number} of search {study.search.name!r} is {record.state}; "
            "only a complete one has a model"
        )
    return record


def export(
    study: Study,
    record: TrialRecord,
    to: Path,
    *,
    with_onnx: bool = False,
    with_examples: bool = False,
) -> ExportedModel:
    """Export the model of a complete trial into a new or empty folder, whole or not at all.

    Args:
        with_onnx: Whether to write ``model.onnx`` beside the checkpoint of transformers.
        with_examples: Whether to write the validation examples, on which the score can be computed
            again.

    Raises:
        UserError: The folder is taken, the model or its data is gone, or ONNX cannot hold it.
    """
    if with_onnx:
        check_packages()
    if with_examples and isinstance(study.search.task, OwnTask):
        raise ExportError(
            f"--examples: the examples of {study.search.task.name} are what its data() returns; "
            "leave it out"
        )
    target = to.absolute()
    _check_free(target)
    data = prepared_data(study, record)
    # A sibling folder is on the same file system, where renaming is atomic.
    staging = target.with_name(f".{target.name}-{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        bundle = write_model_folder(study, record, data, staging, with_onnx=with_onnx)
        if with_examples:
            search = study.search.alone(record.configuration.checkpoint)
            write_examples(staging, search.task, search.data, data, search.workload)
        os.rename(staging, target)
    except OSError as error:
        raise ExportError(f"--to: {target} cannot be written: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    files = tuple(sorted(path.name for path in target.iterdir()))
    return ExportedModel(record.number, target, files, bundle)


@contextmanager
def stored_model(study: Study, record: TrialRecord) -> Iterator[Path]:
    """The folder of the compressed model of a complete trial, which nothing removes meanwhile.

    Raises:
        UserError: The model is gone.
    """
    store = Locations.of(study.search.storage).store_url
    with Store(store).open(record.result["model"]) as folder:
        if folder is None:
            raise ExportError(
                f"the model of trial {record.number} is not in the store {store}: it belongs to "
                "another TLC_HOME, or was deleted to keep the store's quota"
            )
        yield folder


def write_model_folder(
    study: Study, record: TrialRecord, data: PreparedData, folder: Path, *, with_onnx: bool
) -> Bundle:
    """Write the model of a trial and everything that it needs into an empty folder.

    Raises:
        UserError: The model is gone, or ONNX cannot hold it.
    """
    search = study.search.alone(record.configuration.checkpoint)
    task = PredictionTask.of(search.task, search.data, data, search.workload, search.metric.name)
    batches = make_task(search, data).calibration()
    with stored_model(study, record) as model:
        bundle = write_bundle(
            folder,
            model,
            task,
            data.tokenizer_file,
            batches,
            with_onnx=with_onnx,
            address=record.result["model"],
        )
    card = model_card(study, record, task, bundle)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return bundle


def prepared_data(study: Study, record: TrialRecord) -> PreparedData:
    """The prepared data of a trial, prepared again if it is gone.

    Raises:
        UserError: It is gone, and so are its sources, or they have changed.
    """
    search = study.search.alone(record.configuration.checkpoint)
    root = Locations.of(search.storage).data
    fingerprint = record.result["data_fingerprint"]
    found = find_prepared_data(root, fingerprint)
    if found is not None:
        return found
    prepared = prepare_for(search, root, record.configuration.architecture.vocabulary)
    if prepared.fingerprint != fingerprint:
        raise StudyError(
            f"the data of search {search.name!r} has changed since its trials, and their prepared "
            f"data is not in {root}; TLC_HOME names the folder of the search"
        )
    return prepared


def _check_free(target: Path) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise ExportError(f"--to: {target} is a file; name a folder that does not exist yet")
    if any(target.iterdir()):
        raise ExportError(f"--to: {target} is not empty; name a folder that does not exist yet")
