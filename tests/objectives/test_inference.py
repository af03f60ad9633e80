"""Exported models predict as they were scored, and damaged ones are refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sacrebleu.metrics import BLEU

from objectives.compression import model_file
from objectives.compression.model_file import ModelFileError
from objectives.data.encoding import encode_texts, load_tokenizer
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from objectives.data.sources.text import TextRows, read_labelled
from objectives.export import bundle
from objectives.export.inference import InputError, Predictor, load
from objectives.objective import Objective
from spaces.cost.compression import Compression, Quantisation
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace

TASKS = ["classification", "pairs", "masked-lm", "causal-lm", "translation", "image-classification"]


class Exported:
    """A tiny trained model of a task, compressed and exported."""

    def __init__(self, search: SearchFile, folder: Path) -> None:
        self.search = search
        self.folder = folder
        self.objective = Objective(search)
        space = SearchSpace(search)
        configuration = space.configuration((0,) * len(space.dimensions))
        compression = Compression(Quantisation.RTN_4)
        self.result = self.objective.evaluate(configuration.with_compression(compression))
        folder.mkdir()
        with self.objective.store.open(self.result.model) as model:
            assert model is not None
            data = self.objective.data
            task = bundle.PredictionTask.of(search.task, search.data, data)
            bundle.write_bundle(folder, model, task, data.tokenizer_file)

    def raw(self, split: str) -> TextRows:
        """Labelled rows as they were read."""
        source = self.search.data.labelled
        assert source is not None
        return read_labelled(source, "", self.folder.parent / "cache")[split]


@pytest.fixture(scope="session")
def of_task(
    task_documents: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """The exported model of a task, made once."""
    from spaces.loading import validate

    made: dict[str, Exported] = {}
    root = tmp_path_factory.mktemp("exported")

    def make(name: str) -> Exported:
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TLC_HOME", str(root / "home"))
                made[name] = Exported(validate(task_documents[name]), root / name.replace(" ", "_"))
        return made[name]

    return make


@pytest.mark.parametrize("name", TASKS)
def test_an_exported_model_has_the_score_of_its_trial(
    name: str, of_task: Callable[[str], Exported]
) -> None:
    made = of_task(name)
    score = made.objective.score(made.folder, "validation")
    assert (score.value, score.loss) == (made.result.score, made.result.loss)
    assert model_file.bytes_on_disk(made.folder) == made.result.size_bytes


@pytest.mark.parametrize("name", ["classification", "pairs"])
def test_predictions_for_raw_texts_have_the_accuracy_of_the_trial(
    name: str, of_task: Callable[[str], Exported]
) -> None:
    made = of_task(name)
    rows = made.raw("validation")
    inputs = list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts
    predictions = load(made.folder).predict(inputs)
    right = [
        prediction.text == label for prediction, label in zip(predictions, rows.labels, strict=True)
    ]
    assert sum(right) / len(right) == made.result.score
    assert all(0.5 <= (prediction.probability or 0.0) <= 1.0 for prediction in predictions)


@pytest.mark.parametrize("name", ["classification", "pairs"])
def test_texts_are_cut_and_joined_as_the_prepared_data_has_them(
    name: str, of_task: Callable[[str], Exported]
) -> None:
    made = of_task(name)
    rows = made.raw("test")
    tokenizer = load_tokenizer(made.folder / bundle.TOKENIZER)
    tokens, lengths, _ = encode_texts(tokenizer, rows.texts, rows.pairs, sequence_length=16)
    prepared = made.objective.data.labelled_texts("test")
    assert np.array_equal(tokens, prepared.tokens)
    assert np.array_equal(lengths, prepared.lengths)


def test_translations_of_raw_sentences_have_the_bleu_of_the_trial(
    of_task: Callable[[str], Exported],
) -> None:
    made = of_task("translation")
    source = made.search.data.parallel
    assert source is not None
    pairs = read_sentence_pairs(source, made.folder.parent / "cache")["validation"]
    predictions = load(made.folder).predict(pairs.sources)
    assert {prediction.probability for prediction in predictions} == {None}
    texts = [prediction.text for prediction in predictions]
    assert BLEU().corpus_score(texts, [pairs.targets]).score == made.result.score


def test_predictions_for_image_files_have_the_accuracy_of_the_trial(
    of_task: Callable[[str], Exported], tmp_path: Path
) -> None:
    made = of_task("image-classification")
    pictures = made.objective.data.labelled_images("validation")
    files = []
    for index, (image,) in enumerate(pictures.pixels):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(files[-1])
    predictor = load(made.folder)
    predictions = predictor.predict(files)
    right = [
        prediction.text == str(label)
        for prediction, label in zip(predictions, pictures.labels, strict=True)
    ]
    assert sum(right) / len(right) == made.result.score
    assert predictor.predict([files[0].read_bytes(), Image.open(files[0])]) == [predictions[0]] * 2


def test_a_mask_is_filled_and_a_prompt_continued(of_task: Callable[[str], Exported]) -> None:
    filler = load(of_task("masked-lm").folder)
    filled, twice = filler.predict(["the old <mask> sees a hen", "a <mask> and a <mask>"])
    assert filled.text.startswith("the old")
    assert filled.text.endswith(" sees a hen")
    assert "<mask>" not in filled.text + twice.text
    assert 0.0 < (twice.probability or 0.0) < 1.0
    writer = load(of_task("causal-lm").folder)
    short, empty, long = writer.predict(["the old", "", "the old cat " * 50])
    assert all(isinstance(prediction.text, str) for prediction in (short, empty, long))
    assert short == writer.predict(["the old"])[0]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("classification", ("one", "two"), "is not a text"),
        ("pairs", "one", "is not a pair of texts"),
        ("masked-lm", "no mask", "must have <mask>"),
        ("masked-lm", "word " * 40 + "<mask>", "must have <mask>"),
        ("image-classification", "missing.png", "missing.png cannot be read as an image"),
        ("image-classification", b"no image", "the given bytes cannot be read as an image"),
    ],
)
def test_unreadable_inputs_are_refused(
    name: str, given: Any, message: str, of_task: Callable[[str], Exported]
) -> None:
    with pytest.raises(InputError, match=message):
        load(of_task(name).folder).predict([given])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped weight": (lambda f: _flip(f / model_file.WEIGHTS), "model.safetensors is damaged"),
    "flipped tokenizer": (lambda f: _flip(f / bundle.TOKENIZER), "tokenizer.json is damaged"),
    "no tokenizer": (lambda f: (f / bundle.TOKENIZER).unlink(), "tokenizer.json is missing"),
    "no weights": (lambda f: (f / model_file.WEIGHTS).unlink(), "model.safetensors is missing"),
    "no task": (lambda f: (f / bundle.TASK).unlink(), "task.json cannot be read"),
    "newer": (lambda f: _edit(f / bundle.TASK, format=9), "task.json cannot be read"),
    "other task": (lambda f: _edit(f / bundle.TASK, name="chess"), "task.json cannot be read"),
    "lost label": (lambda f: _edit(f / bundle.TASK, labels=["tool"]), "names 1 classes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(
    damage: str, of_task: Callable[[str], Exported], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(of_task("classification").folder, tmp_path / "damaged"))
    assert isinstance(load(folder), Predictor)
    act, message = DAMAGES[damage]
    act(folder)
    with pytest.raises(ModelFileError, match=message):
        load(folder)


def test_the_exif_orientation_of_a_photograph_is_applied(
    of_task: Callable[[str], Exported],
) -> None:
    made = of_task("image-classification")
    picture = Image.fromarray(made.objective.data.labelled_images("validation").pixels[0, 0])
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    # Orientation 6: the viewer turns the file by 90 degrees clockwise.
    picture.transpose(Image.Transpose.ROTATE_90).save(turned, format="PNG", exif=exif)
    predictor = load(made.folder)
    assert predictor.predict([turned.getvalue()]) == predictor.predict([picture])
