"""What the model of a trial gets wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objectives.objective import Objective
from objectives.predictor.overlap import overlap
from objectives.tasks.mistakes import Mistake, Mistakes
from objectives.tasks.worst_texts import WorstTexts
from search.analysis.mistakes import NoErrors, mistakes_of
from search.analysis.report.errors import errors_section
from search.cli.printing.console import PlainConsole
from search.cli.printing.mistakes import print_errors
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.search.conftest import Tlc

ALL = 1000


def test_the_errors_of_a_model_are_those_of_its_score(finished: Tlc) -> None:
    (best,) = json.loads(
        finished.ask("trials", "tiny", "--limit", "1", "--order=-score", "--json").stdout
    )["trials"]
    shown = finished.ask("show", "tiny", str(best["trial"]), "--errors", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["classes"] == ["animal", "tool"]
    assert sum(map(sum, found["confusion"])) == found["answers"] == 100
    right = found["confusion"][0][0] + found["confusion"][1][1]
    assert right / 100 == pytest.approx(best["result"]["score"])
    assert found["wrong"] == 100 - right
    assert len(found["worst"]) == min(20, found["wrong"])
    for mistake in found["worst"]:
        assert mistake["expected"] != mistake["predicted"]
        assert 0.5 <= mistake["confidence"] <= 1
        assert f"dev{mistake['row']}" in mistake["input"].replace(" ", "")
    text = finished.ask("show", "tiny", str(best["trial"]), "--errors", "--limit", "3")
    assert f"{found['wrong']} of 100 answers on validation are wrong" in text.stdout


def test_a_long_input_leaves_the_other_columns_whole(capsys: pytest.CaptureFixture[str]) -> None:
    mistake = Mistake(7, "many words " * 12, "animal", "tool", 0.75)
    found = Mistakes("validation", 2, 1, ("animal", "tool"), [[0, 1], [0, 1]], [mistake])
    print_errors(found, PlainConsole(width=80))
    printed = capsys.readouterr().out
    assert all(each in printed for each in ("'animal'", "'tool'", "0.750", "confidence"))
    assert printed.count("many") == 12


def test_errors_need_a_trial_that_is_complete(finished: Tlc) -> None:
    assert "needs a trial" in finished.ask("show", "tiny", "--errors").stderr
    refused = finished.ask("show", "tiny", "99", "--errors")
    assert refused.returncode == 2
    assert "has no trial 99" in refused.stderr


def trained(search: SearchFile, home: Path) -> Study:
    """The study of a search with one trial, which is trained."""
    home.mkdir()
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    record = study.ask()
    study.tell_result(record.number, Objective(search).evaluate(record.configuration).to_dict())
    return study


def worst_of(study: Study) -> tuple[WorstTexts, float]:
    """All texts, the worst first, and the score of the trial."""
    found = mistakes_of(study, 0, ALL)
    assert isinstance(found, WorstTexts)
    scores = [each.score for each in found.worst]
    assert len(scores) == found.texts
    assert found.middle == pytest.approx(np.median(scores))
    section = errors_section(study.records()[0], found)
    assert len(section.tables[0].rows) == found.texts
    return found, study.records()[0].result["score"]


@pytest.mark.parametrize("name", ["causal-lm", "masked-lm"])
def test_the_worst_passages_of_a_language_model_have_the_highest_loss(
    name: str, make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    found, perplexity = worst_of(trained(make_task_search(name), home))
    losses = [each.score for each in found.worst]
    assert losses == sorted(losses, reverse=True)
    assert math.exp(np.mean(losses)) == pytest.approx(perplexity, rel=1e-3)
    assert all(each.expected and not each.input for each in found.worst)


def test_the_worst_translations_have_the_lowest_score(
    make_task_search: Callable[..., SearchFile], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = trained(make_task_search("translation"), home)
    found, bleu = worst_of(study)
    scores = [each.score for each in found.worst]
    assert scores == sorted(scores)
    written, expected = zip(*((each.written, each.expected) for each in found.worst), strict=True)
    assert overlap(written, expected, "bleu") == pytest.approx(bleu)
    assert overlap(written[:1], expected[:1], "chrf") == pytest.approx(scores[0])
    assert all(each.input for each in found.worst)
    print_errors(mistakes_of(study, 0, 1), PlainConsole(width=200))
    assert found.worst[0].input in capsys.readouterr().out


def test_models_that_predict_numbers_have_no_errors_to_list(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    study = trained(make_task_search("regression", space__budget={"choices": [20.0]}), home)
    with pytest.raises(NoErrors, match="neither classes nor texts"):
        mistakes_of(study, 0, ALL)


def test_a_report_has_the_errors_of_the_best_model(finished: Tlc, tmp_path: Path) -> None:
    written = finished.ask("report", "tiny", "--to", str(tmp_path))
    assert written.returncode == 0, written.stderr
    page = (tmp_path / "report.html").read_text()
    assert "confusion matrix" in page
    assert "of 100 answers on validation are wrong." in page
    finished.ask("report", "tiny", "--to", str(tmp_path), "--no-errors")
    assert "confusion matrix" not in (tmp_path / "report.html").read_text()
