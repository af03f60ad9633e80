"""Settings of training that are searched, in the answers, figures and records of a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search.analysis.claims.observations import observe
from search.analysis.report.dimensions import dimensions_section
from search.analysis.report.report_data import ReportData
from search.analysis.report.training_reuse import training_section
from search.api.results import Results
from search.cli.printing.tables import frontier_table
from search.plots.parallel_coordinates import parallel_figure
from search.results.prediction import Predictor
from search.results.schemas import FrontierMember
from search.storage.study import Study
from search.tracking.trial_run import trial_name, trial_params
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result

SECONDS = {
    "train": 5.0, "saved": 6.0, "stable": 4.0, "cooldown": 1.0, "compress": 0.1, "measure": 0.1,
}  # fmt: skip


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path) -> Study:
    """Two learning rates and two dropouts, each once, and nothing else."""
    search = make_search(
        space__depth=1,
        space__width=32,
        space__budget={"choices": [20]},
        space__quantisation="none",
        space__sparsity=0.0,
        space__training={
            "learning_rate": {"choices": [1e-3, 2e-3]},
            "fine_tuning": {"dropout": {"choices": [0.1, 0.3]}},
        },
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    for rate in (1e-3, 2e-3):
        for dropout in (0.1, 0.3):
            first = {d.name: d.values[0] for d in study.space.dimensions}
            chosen = {"learning_rate": rate, "fine_tuning.dropout": dropout}
            study.optuna.enqueue_trial(first | chosen)
            result = made_up_result(0.5 + 100 * rate + dropout / 10, 0.1, seconds=SECONDS)
            study.tell_result(study.ask().number, result)
    return study


def test_a_trial_names_its_settings(study: Study) -> None:
    record = study.records()[-1]
    assert record.configuration.training == (("fine_tuning.dropout", 0.3), ("learning_rate", 0.002))
    assert "fine_tuning.dropout 0.3, learning_rate 0.002" in trial_name(record, "steps")
    params = trial_params(record, "steps")
    assert (params["learning_rate"], params["fine_tuning.dropout"]) == (0.002, 0.3)
    table = frontier_table([FrontierMember.of(record, {}, None)])
    heads = [str(column.header) for column in table.columns]
    assert list(table.columns[heads.index("learning rate")].cells) == ["0.002"]
    assert list(table.columns[heads.index("fine tuning.dropout")].cells) == ["0.3"]


def test_answers_and_figures_have_their_dimensions(study: Study, home: Path) -> None:
    records = study.records()
    frame = Results(study.search.name, f"sqlite:///{home / 'study.db'}").trials()
    assert list(frame["learning_rate"]) == [0.001, 0.001, 0.002, 0.002]
    axes = parallel_figure(records, study.space).data[0].dimensions
    assert {"learning rate", "fine tuning.dropout"} < {axis.label for axis in axes}
    predicted = Predictor(study, records).predict(
        {"learning_rate": 0.002, "fine_tuning.dropout": 0.3}
    )
    assert predicted.trial == 3


def test_the_report_shows_each_stable_path(study: Study) -> None:
    data = ReportData.of(study)
    charts = [chart.label for chart in dimensions_section(data).charts]
    assert "accuracy by learning rate" in charts
    rows = [row[0] for row in training_section(data).tables[0].rows]
    # Dropout acts after the stable path.
    assert rows == ["1x32 learning_rate 0.001", "1x32 learning_rate 0.002"]


def test_claims_compare_models_that_are_trained_alike(study: Study) -> None:
    with pytest.raises(UserError, match="several settings of training"):
        observe([study])
