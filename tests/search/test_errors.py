"""What the model of a trial gets wrong."""

from __future__ import annotations

import json

import pytest

from tests.search.conftest import Tlc


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


def test_errors_need_a_trial_that_is_complete(finished: Tlc) -> None:
    assert "needs a trial" in finished.ask("show", "tiny", "--errors").stderr
    refused = finished.ask("show", "tiny", "99", "--errors")
    assert refused.returncode == 2
    assert "has no complete trial 99" in refused.stderr
