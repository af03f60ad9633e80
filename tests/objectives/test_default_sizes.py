"""Vocabulary and sequence length, where a search file leaves them out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from objectives.data import defaults
from objectives.data.defaults import with_default_sizes
from objectives.data.encoding import SPECIAL_TOKENS, token_stream, train_tokenizer
from objectives.data.prepare import prepare
from objectives.data.sources import standard_library
from search.cli.main import cli
from spaces.file.search_file import SearchFile
from spaces.loading import validate, with_data


def without_sizes(document: dict[str, Any], **given: int) -> SearchFile:
    changed = copy.deepcopy(document)
    for name in ("vocabulary_size", "sequence_length", "target_length"):
        changed["data"].pop(name, None)
    changed["data"].update(given)
    return validate(changed)


@pytest.mark.slow
def test_the_vocabulary_is_the_largest_whose_tokens_are_frequent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(defaults, "FREQUENT", 10)
    corpus = list(islice(standard_library.unlabelled("validation"), 40))

    def frequent(size: int) -> float:
        tokenizer = train_tokenizer(corpus, size)
        counts = np.bincount(token_stream(tokenizer, corpus), minlength=size)
        return float(np.mean(counts[len(SPECIAL_TOKENS) + 256 :] >= 10))

    chosen = defaults.default_vocabulary(corpus)
    assert 512 < chosen < 16_384
    assert frequent(chosen) >= 0.95 > frequent(chosen + 128)
    assert defaults.default_vocabulary(corpus[:5]) < chosen


def test_the_length_is_that_of_nearly_all_training_texts(
    document: dict[str, Any], tmp_path: Path
) -> None:
    search = without_sizes(document)
    followed = with_data(search, with_default_sizes(search.data, search.task, tmp_path))
    assert followed.data.vocabulary_size == 512
    lengths = prepare(followed.data, followed.task, tmp_path).lengths["labelled texts"]
    assert 0.0 <= lengths.cut <= 0.01
    assert followed.data.sequence_length - 8 < lengths.percentile_99
    assert followed.data.sequence_length % 8 == 0


def test_what_is_read_and_what_is_written_have_lengths_of_their_own(
    task_documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    search = without_sizes(task_documents["summarisation"])
    assert search.data.missing_sizes() == {"vocabulary_size", "sequence_length", "target_length"}
    followed = with_data(search, with_default_sizes(search.data, search.task, tmp_path))
    data = prepare(followed.data, followed.task, tmp_path)
    for texts, length in (
        ("source texts", followed.data.sequence_length),
        ("target texts", followed.data.longest_target),
    ):
        assert data.lengths[texts].cut <= 0.01
        assert length - 8 < data.lengths[texts].percentile_99
    assert followed.workload.target_length < followed.workload.sequence_length
    pairs = data.sentence_pairs("train")
    assert pairs.sources.shape[1] == followed.workload.sequence_length
    assert pairs.targets.shape[1] == followed.workload.target_length


def test_a_size_that_is_given_is_kept(document: dict[str, Any], tmp_path: Path) -> None:
    search = without_sizes(document, sequence_length=64)
    followed = with_default_sizes(search.data, search.task, tmp_path)
    assert (followed.vocabulary_size, followed.sequence_length) == (512, 64)
    complete = validate(document).data
    assert with_default_sizes(complete, search.task, tmp_path) is complete


def test_sizes_that_are_left_out_stay_left_out_until_the_data_is_read(
    document: dict[str, Any], make_task_search: Callable[..., SearchFile]
) -> None:
    search = without_sizes(document)
    again = SearchFile.model_validate(search.to_dict())
    assert again.data.missing_sizes() == {"vocabulary_size", "sequence_length"}
    assert make_task_search("image-classification").data.missing_sizes() == set()
    assert SearchFile.model_validate(validate(document).to_dict()).data.missing_sizes() == set()


@pytest.mark.usefixtures("home")
def test_a_plan_has_the_sizes_that_follow_the_data(
    document: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    def planned(search: SearchFile) -> str:
        path = tmp_path / "search.yaml"
        path.write_text(yaml.safe_dump(search.to_dict()))
        done = CliRunner().invoke(cli, ["plan", str(path), "--no-data"])
        assert done.exit_code == 0, done.output
        return done.output

    followed = planned(without_sizes(document))
    assert followed == planned(without_sizes(document, vocabulary_size=512, sequence_length=16))
