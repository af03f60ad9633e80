"""Each task trains, is scored with an interval, and can be compressed, on tiny real data."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.errors import DataError
from objectives.objective import Objective
from objectives.testing.pytest_tasks import TaskTestCase
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchLike

TASKS = [
    "pairs", "regression", "token-classification", "masked-lm", "causal-lm", "translation",
    "summarisation", "image-classification",
]  # fmt: skip
COMPRESSED = Compression(Quantisation.STATIC_8, 32, Pruning.STRUCTURED, 0.5)


OTHER_LAYERS = {
    "head_width": 16, "feed_forward_ratio": 2.5, "activation": "relu2", "tied_embeddings": False,
}  # fmt: skip


class TestBuiltIn(TaskTestCase):
    @pytest.fixture(scope="class", params=["classification", *TASKS[1:], "other layers"])
    def search(
        self, request: pytest.FixtureRequest, task_documents: dict[str, dict[str, Any]]
    ) -> SearchLike:
        if request.param != "other layers":
            return task_documents[request.param]
        document = task_documents["causal-lm"]
        return {**document, "space": {**document["space"], **OTHER_LAYERS}}


def first(search: SearchFile) -> Configuration:
    space = SearchSpace(search)
    return space.configuration((0,) * len(space.dimensions))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", TASKS)
def test_a_task_trains_and_is_scored_dense_and_compressed(
    name: str, make_task_search: Callable[..., SearchFile]
) -> None:
    search = make_task_search(name)
    objective = Objective(search)
    dense = objective.evaluate(first(search))
    small = objective.evaluate(first(search).with_compression(COMPRESSED))
    for result in (dense, small):
        assert result.metric == search.metric.name == search.objectives[0]
        assert result.score_low <= result.score <= result.score_high
        assert math.isfinite(result.loss)
        assert result.size_bytes == pytest.approx(result.predicted_size_bytes, rel=0.02)
    assert dense.score == pytest.approx(dense.dense_score)
    assert small.dense_score == dense.dense_score
    assert small.steps["trained"] == 0
    assert small.flops < dense.flops
    assert objective.test(small.model).examples > 0


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["masked-lm", "causal-lm"])
def test_training_lowers_perplexity_below_that_of_guessing(
    name: str, make_task_search: Callable[..., SearchFile]
) -> None:
    search = make_task_search(name)
    result = Objective(search).evaluate(first(search))
    assert result.score_high < 0.7 * search.metric.guessing
    assert result.score == pytest.approx(math.exp(result.loss), rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_toy_language_is_translated(make_task_search: Callable[..., SearchFile]) -> None:
    scores = {}
    for steps in (20, 300):
        search = make_task_search(
            "translation",
            space__budget={"unit": "steps", "choices": [steps]},
            space__width=64,
            training__learning_rate=3e-3,
            training__batch_size=32,
        )
        scores[steps] = Objective(search).evaluate(first(search)).score
    assert scores[20] < 20
    assert scores[300] > 50


@pytest.mark.usefixtures("home")
def test_beam_search_decodes_too(make_task_search: Callable[..., SearchFile]) -> None:
    search = make_task_search("translation", task={"name": "translation", "beams": 2})
    result = Objective(search).evaluate(first(search))
    assert result.metric == "bleu"
    assert result.score == pytest.approx(result.dense_score)


@pytest.mark.usefixtures("home")
def test_searches_with_other_beams_share_weights_but_no_scores(
    make_task_search: Callable[..., SearchFile],
) -> None:
    search = make_task_search("translation")
    beams = [search.task.model_copy(update={"beams": count}) for count in (1, 2, 4)]
    paths = [
        Objective(search.model_copy(update={"task": task}))._task.path(first(search))
        for task in beams
    ]
    assert len({path.address for path in paths}) == 1
    assert [path.validated_by for path in paths] == [
        {"beams": beams, "tokenizer": "13a"} for beams in (1, 2, 4)
    ]


@pytest.mark.usefixtures("home")
def test_a_decoder_may_be_shallower_than_its_encoder(
    make_task_search: Callable[..., SearchFile],
) -> None:
    search = make_task_search("translation", space__depth=2, space__decoder_depth=1)
    architecture = first(search).architecture
    assert (architecture.depth, architecture.decoder_depth) == (2, 1)
    deep = make_task_search("translation", space__depth=2)
    assert first(deep).architecture.decoder_depth == 2


@pytest.mark.usefixtures("home")
def test_no_sentence_or_image_is_in_two_splits(
    make_task_search: Callable[..., SearchFile], corpus: Path
) -> None:
    doubled = Objective(make_task_search("translation")).data
    rows = {
        split: {row.tobytes() for row in np.asarray(doubled.sentence_pairs(split).sources)}
        for split in ("train", "validation", "test")
    }
    images = Objective(make_task_search("image-classification")).data
    pixels = {
        split: {image.tobytes() for image in np.asarray(images.labelled_images(split).pixels)}
        for split in ("train", "validation", "test")
    }
    for splits in (rows, pixels):
        assert all(splits.values())
        assert not splits["train"] & splits["validation"]
        assert not splits["train"] & splits["test"]
        assert not splits["validation"] & splits["test"]


@pytest.mark.usefixtures("home")
def test_files_that_do_not_match_line_by_line_are_refused(
    make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("un\n")
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(DataError, match=r"data\.parallel\.validation: 2 texts .* and 1"):
        Objective(make_task_search("translation", data__parallel__validation=both))
    missing = [str(tmp_path / "a"), str(tmp_path / "c")]
    with pytest.raises(DataError, match=r"data\.parallel\.test: no such file: .*c"):
        Objective(make_task_search("translation", data__parallel__test=missing))


@pytest.mark.usefixtures("home")
def test_a_folder_of_images_is_read_and_a_missing_one_refused(
    make_task_search: Callable[..., SearchFile], pictures: Path
) -> None:
    fields: dict[str, Any] = {
        "data": {
            "images": {"source": "image_folder", "train": str(pictures)},
            "image_size": 8,
            "patch_size": 4,
            "channels": 3,
        },
        "task": {"name": "image-classification", "classes": 2},
    }
    data = Objective(make_task_search("image-classification", **fields)).data
    assert data.label_names == ("bright", "dark")
    assert data.labelled_images("train").pixels.shape[1:] == (3, 8, 8)
    fields["data"]["images"]["test"] = str(pictures / "none")
    with pytest.raises(DataError, match=r"data\.images\.test: no such folder"):
        Objective(make_task_search("image-classification", **fields))
