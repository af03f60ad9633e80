"""Exported models run without tlc as they were scored, and damaged ones are refused."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from objectives import predictor
from objectives.data.batches import pixel_values
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from objectives.data.sources.text import read_labelled
from objectives.export.bundle import write_bundle
from objectives.export.checkpoint import can_be_checkpoint
from objectives.export.evaluation import write_examples
from objectives.export.examples import example_program
from objectives.export.onnx_examples import onnx_program
from objectives.export.prediction_task import PredictionTask
from objectives.objective import Objective
from objectives.predictor import InputError, Model, ModelError, load
from objectives.predictor.classes import class_score
from objectives.predictor.measuring import measure
from objectives.predictor.words import tag_score
from objectives.tasks import make_task
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import validate

COMPRESSIONS = {
    "classification": Compression(Quantisation.RTN_4),
    # RoBERTa's configuration has no field for the heads that are removed.
    "pairs": Compression(Quantisation.RTN_8, 32, Pruning.STRUCTURED, 0.5),
    "regression": Compression(Quantisation.RTN_4),
    "token-classification": Compression(Quantisation.RTN_4),
    "masked-lm": Compression(Quantisation.HQQ_4),
    "causal-lm": Compression(Quantisation.MIXED_3, 64, Pruning.STRUCTURED, 0.5),
    "translation": Compression(Quantisation.BF16),
    "summarisation": Compression(Quantisation.RTN_8),
    "image-classification": Compression(Quantisation.STATIC_8, 32, Pruning.NEURONS, 0.5),
}
METRICS = {
    "pairs": "macro-f1",
    "regression": "rmse",
    "causal-lm": "bits-per-byte",
    "translation": "chrf",
    "image-classification": "matthews",
}
"""Where models have another score than the usual one of their task."""
DIMENSIONS: dict[str, dict[str, Any]] = {
    "masked-lm": {"head_width": 16, "feed_forward_ratio": 3.0},
    "causal-lm": {"activation": "relu2", "tied_embeddings": False},
    "translation": {"activation": "relu"},
    "image-classification": {"activation": "hardswish", "head_width": 16},
}
"""Where models have other layers than the usual ones of their task."""
TASKS = list(COMPRESSIONS)
WITH_ONNX = [
    "classification", "regression", "token-classification", "causal-lm", "translation",
    "image-classification",
]  # fmt: skip
"""Tasks of which ONNX is written too, which takes seconds."""
GENERATED = ("causal-lm", "translation", "summarisation")
"""Tasks whose models write texts, which have no probability."""
FEW = ("classification", "causal-lm", "image-classification")
"""Tasks whose models are exported where slow tests are left out."""
TLC = ("spaces", "objectives", "search", "ray", "optuna", "mlflow", "neural_compressor")
HIDDEN = {"transformers": TLC, "onnxruntime": (*TLC, "torch", "transformers", "safetensors")}
"""Packages that a process with a runtime must not need."""


class Exported:
    """A tiny trained model of a task, compressed and exported."""

    def __init__(self, search: SearchFile, folder: Path) -> None:
        self.search = search
        self.folder = folder
        self.objective = Objective(search)
        space = SearchSpace(search)
        configuration = space.configuration((0,) * len(space.dimensions))
        name = "pairs" if search.name == "pairs" else search.task.name
        self.result = self.objective.evaluate(configuration.with_compression(COMPRESSIONS[name]))
        folder.mkdir()
        data = self.objective.data
        self.task = PredictionTask.of(
            search.task, search.data, data, search.workload, search.metric.name
        )
        batches = make_task(search, data).calibration()
        with self.objective.store.open(self.result.model) as model:
            assert model is not None
            self.bundle = write_bundle(
                folder,
                model,
                self.task,
                data.tokenizer_file,
                batches,
                with_onnx=name in WITH_ONNX,
            )
        write_examples(folder, search.task, search.data, data, search.workload)

    @property
    def inputs(self) -> list[Any]:
        """Some inputs, as JSON has them."""
        match self.task.name:
            case "image-classification":
                pictures = self.objective.data.labelled_images("test").pixels[:5, 0]
                files = [self.folder.parent / f"{index}.png" for index in range(5)]
                for file, picture in zip(files, pictures, strict=True):
                    Image.fromarray(picture).save(file)
                return list(map(str, files))
            case "masked-lm":
                return ["the old <mask> sees a hen", "a <mask> and a <mask>"]
            case "causal-lm":
                return ["the old", "", "the old cat " * 50]
        texts = ["the red cat sees", "", "old small dog " * 30]
        return [[text, "a saw"] for text in texts] if self.task.takes_pairs else texts


def marks_of(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """All tasks take a minute; without the slow tests, the models of a few are exported."""
    return () if name in FEW else (pytest.mark.slow,)


def slow_but_few(names: Iterable[str]) -> list[Any]:
    """The tasks, all but a few of them as slow tests."""
    return [pytest.param(name, marks=marks_of(name)) for name in names]


@pytest.fixture(scope="session")
def of_task(
    task_documents: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """The exported model of a task, made once."""
    made: dict[str, Exported] = {}
    root = tmp_path_factory.mktemp("exported")

    def make(name: str) -> Exported:
        if name not in made:
            document = dict(task_documents[name])
            sizes = {"width": 64, "depth": 1, **DIMENSIONS.get(name, {})}
            document["space"] = {**document["space"], **sizes}
            if name in METRICS:
                document["objectives"] = [METRICS[name], "size_mb"]
            if name == "pairs":
                document["task"] = {**document["task"], "encoder": "roberta"}
            if name == "causal-lm":
                # A long document is encoded in parts, which begin anew after blank lines.
                source = Path(document["data"]["unlabelled"]["train"])
                (root / "text.txt").write_text(source.read_text().replace("\n", "\n\n\n"))
                unlabelled = {"source": "files", "train": str(root / "text.txt")}
                document["data"] = {**document["data"], "unlabelled": unlabelled}
            if name == "translation":
                document["task"] = {**document["task"], "beams": 2}
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TLC_HOME", str(root / "home"))
                made[name] = Exported(validate(document), root / name)
        return made[name]

    return make


@pytest.fixture(scope="session")
def outside(
    of_task: Callable[[str], Exported], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], dict[str, Any]]:
    """What the model of a task answers in a runtime, in a process that has no tlc."""
    answered: dict[tuple[str, frozenset[str]], dict[str, Any]] = {}
    folder = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (9, 7)).save(folder / "an_image.png")

    def answers(name: str, runtime: str) -> dict[str, Any]:
        group = frozenset(FEW if name in FEW else {*TASKS} - {*FEW})
        if (runtime, group) not in answered:
            cases = {}
            for made in map(
                of_task, sorted(group & {*(TASKS if runtime == "transformers" else WITH_ONNX)})
            ):
                shutil.copy(folder / "an_image.png", made.folder)
                of_card = example_program if runtime == "transformers" else onnx_program
                program = of_card(made.task)
                cases[str(made.folder)] = {"inputs": made.inputs, "program": program}
            (folder / "cases.json").write_text(json.dumps(cases))
            run = subprocess.run(
                [
                    sys.executable, "-I", str(Path(__file__).with_name("outside.py")),
                    ",".join(HIDDEN[runtime]), runtime, str(folder / "cases.json"),
                ],
                cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert run.returncode == 0, run.stderr
            answered[runtime, group] = json.loads(run.stdout)
        found: dict[str, Any] = answered[runtime, group][str(of_task(name).folder)]
        return found

    return answers


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        *(pytest.param("transformers", name, marks=marks_of(name)) for name in TASKS),
        *(pytest.param("onnxruntime", name, marks=marks_of(name)) for name in WITH_ONNX),
    ],
)
def test_an_exported_model_has_the_score_of_its_trial_without_tlc(
    name: str,
    runtime: str,
    of_task: Callable[[str], Exported],
    outside: Callable[[str, str], dict[str, Any]],
) -> None:
    made = of_task(name)
    score = outside(name, runtime)["score"]
    if made.result.metric in ("perplexity", "bits-per-byte", "rmse"):
        assert score == pytest.approx(made.result.score, rel=1e-5)
    else:
        assert score == made.result.score


@pytest.mark.parametrize("name", slow_but_few(WITH_ONNX))
def test_both_runtimes_predict_the_same(
    name: str, of_task: Callable[[str], Exported], outside: Callable[[str, str], dict[str, Any]]
) -> None:
    by_transformers, by_onnx = (outside(name, runtime)["predictions"] for runtime in HIDDEN)
    assert len(by_transformers) == len(of_task(name).inputs)
    for (text, probability), (other_text, other) in zip(by_transformers, by_onnx, strict=True):
        if name == "regression":
            assert float(text) == pytest.approx(float(other_text), rel=1e-3)
            continue
        assert text == other_text
        assert (probability is None) == (name in (*GENERATED, "token-classification"))
        assert other == (None if probability is None else pytest.approx(probability, abs=1e-4))


@pytest.mark.parametrize("name", slow_but_few(TASKS))
def test_the_program_of_the_card_predicts(
    name: str, of_task: Callable[[str], Exported], outside: Callable[[str, str], dict[str, Any]]
) -> None:
    printed = outside(name, "transformers")["printed"]
    labels = of_task(name).task.labels
    assert any(label in printed for label in labels) if labels else printed.strip()
    if name == "regression":
        (number,) = load(of_task(name).folder).predict(["a text"])
        assert float(printed) == pytest.approx(number.number, rel=1e-4)


@pytest.mark.parametrize(
    "name", slow_but_few(["classification", "token-classification", "image-classification"])
)
def test_the_program_of_the_card_has_the_recorded_score_with_onnxruntime_alone(
    name: str, of_task: Callable[[str], Exported], outside: Callable[[str, str], dict[str, Any]]
) -> None:
    made, found = of_task(name), outside(name, "onnxruntime")["of_program"]
    examples = map(json.loads, (made.folder / "evaluation.jsonl").read_text().splitlines())
    task = made.task
    if name == "token-classification":
        score = tag_score(found, [each["tags"] for each in examples], task.metric, task.labels)
    else:
        score = class_score(found, [each["label"] for each in examples], task.metric, task.labels)
    assert score == made.result.score


@pytest.mark.parametrize("name", slow_but_few(["regression", "causal-lm"]))
def test_the_program_of_the_card_predicts_with_onnxruntime_alone(
    name: str, of_task: Callable[[str], Exported], outside: Callable[[str, str], dict[str, Any]]
) -> None:
    printed = outside(name, "onnxruntime")["printed"]
    given = "a text" if name == "regression" else "how a text begins"
    (expected,) = load(of_task(name).folder, "onnxruntime").predict([given])
    if name == "regression":
        assert ast.literal_eval(printed) == [pytest.approx(expected.number)]
    else:
        assert printed == f"{expected.text}\n"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", slow_but_few(TASKS))
def test_a_folder_measures_what_it_costs(name: str, of_task: Callable[[str], Exported]) -> None:
    folder = of_task(name).folder
    found = measure(folder, machine="board", repeats=2)
    files = {"onnxruntime": "model.onnx", "transformers": "model.safetensors"}
    assert {each["runtime"] for each in found["measured"]} == {
        runtime for runtime, file in files.items() if (folder / file).exists()
    }
    for each in found["measured"]:
        assert each["size_bytes"] == (folder / files[each["runtime"]]).stat().st_size
        assert 0 < each["min_ms"] <= each["p10_ms"] <= each["p50_ms"]


def test_the_predictor_imports_nothing_of_tlc() -> None:
    (folder,) = predictor.__path__
    for file in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not {each.name.partition(".")[0] for each in node.names} & {*TLC}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] not in TLC


@pytest.mark.parametrize(
    "name", slow_but_few(["classification", "pairs", "translation", "summarisation"])
)
def test_transformers_gives_the_ids_of_training(
    name: str, of_task: Callable[[str], Exported]
) -> None:
    from transformers import AutoTokenizer

    made = of_task(name)
    data, sources = made.objective.data, made.search.data
    cache = made.folder.parent / "cache"
    texts: tuple[list[str], ...]
    if sources.parallel is not None:
        texts = (list(read_sentence_pairs(sources.parallel, cache)["test"].sources),)
        expected = data.sentence_pairs("test").sources
    else:
        assert sources.labelled is not None
        rows = read_labelled(sources.labelled, "", cache)["test"]
        texts = tuple(list(each) for each in (rows.texts, rows.pairs) if each)
        expected = data.labelled_texts("test").tokens
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    found = tokenizer(*texts, truncation=True, padding="max_length", return_tensors="np")
    assert np.array_equal(found["input_ids"], expected)
    assert np.array_equal(found["attention_mask"], expected != tokenizer.pad_token_id)


def test_transformers_gives_the_pixels_of_training(of_task: Callable[[str], Exported]) -> None:
    from transformers import AutoImageProcessor

    made = of_task("image-classification")
    images = made.objective.data.labelled_images("test")
    pixels = images.pixels[:4]
    processor = AutoImageProcessor.from_pretrained(made.folder)
    found = processor([Image.fromarray(each[0]) for each in pixels], return_tensors="np")
    expected = pixel_values(pixels, images.normalisation).numpy()
    assert np.allclose(found["pixel_values"], expected, atol=1e-6)


def test_int8_is_written_as_such_for_both_runtimes(of_task: Callable[[str], Exported]) -> None:
    made = of_task("image-classification")
    assert made.bundle.checkpoint is not None
    assert made.bundle.checkpoint.weights == "int8"
    stored = load_file(made.folder / "model.safetensors")
    assert [tensor.dtype for tensor in stored.values()].count(torch.int8) > 6
    assert made.bundle.onnx is not None
    assert made.bundle.onnx.inputs == {"pixel_values": ["batch", 1, 8, 8]}
    path = made.folder / "model.onnx"
    assert made.bundle.onnx.size_bytes == path.stat().st_size
    onnx.checker.check_model(str(path), full_check=True)
    nodes = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    # Each layer has its weight; layers that read the same input share its codes.
    assert nodes["DequantizeLinear"] > nodes["QuantizeLinear"] > 0


@pytest.mark.slow
def test_transformers_gets_no_translator_in_static_int8(of_task: Callable[[str], Exported]) -> None:
    made = of_task("translation")
    space = SearchSpace(made.search)
    configuration = space.configuration((0,) * len(space.dimensions))
    compression = Compression(Quantisation.STATIC_8)
    result = made.objective.evaluate(configuration.with_compression(compression))
    for name, can_be in ((result.model, False), (made.result.model, True)):
        with made.objective.store.open(name) as model:
            assert model is not None
            assert can_be_checkpoint(model) is can_be


def test_an_onnx_file_has_no_paths_of_this_machine(of_task: Callable[[str], Exported]) -> None:
    content = (of_task("classification").folder / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_the_onnx_file_names_its_task_and_its_labels(of_task: Callable[[str], Exported]) -> None:
    file = of_task("classification").folder / "model.onnx"
    metadata = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    facts = {name: json.loads(value) for name, value in metadata.items()}
    assert facts["name"] == "classification"
    assert facts["labels"] == ["animal", "tool"]
    assert facts["sequence_length"] == 16


def test_the_onnx_file_says_how_images_are_read(of_task: Callable[[str], Exported]) -> None:
    file = of_task("image-classification").folder / "model.onnx"
    metadata = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["image_processor"])["size"] == {"height": 8, "width": 8}
    assert json.loads(metadata["background"]) == "white"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("classification", ("one", "two"), "is not a text"),
        pytest.param("pairs", "one", "is not a pair of texts", marks=pytest.mark.slow),
        pytest.param(
            "token-classification",
            ["one", 2],
            "is neither a text nor a list of words",
            marks=pytest.mark.slow,
        ),
        pytest.param("masked-lm", "no mask", "must have <mask>", marks=pytest.mark.slow),
        pytest.param(
            "masked-lm", "word " * 40 + "<mask>", "must have <mask>", marks=pytest.mark.slow
        ),
        ("image-classification", "missing.png", "missing.png cannot be read as an image"),
        ("image-classification", b"no image", "the given bytes cannot be read as an image"),
    ],
)
def test_unreadable_inputs_are_refused(
    name: str, given: Any, message: str, of_task: Callable[[str], Exported]
) -> None:
    with pytest.raises(InputError, match=message):
        load(of_task(name).folder).predict([given])


def test_masks_are_filled_and_nothing_else(of_task: Callable[[str], Exported]) -> None:
    model = load(of_task("masked-lm").folder)
    filled, twice = model.predict(["the old <mask> sees a hen", "a <mask> and a <mask>"])
    assert filled.text.startswith("the old")
    assert filled.text.endswith(" sees a hen")
    assert "<mask>" not in filled.text + twice.text
    assert 0.0 < (twice.probability or 0.0) < 1.0


def test_words_are_printed_with_their_tags(of_task: Callable[[str], Exported]) -> None:
    made = of_task("token-classification")
    model = load(made.folder)
    words = ["the", "old", "New York", *["cat"] * 30]
    (found,) = model.predict([words])
    pairs = [f"{word}/{tag or '?'}" for word, tag in zip(words, found.tags, strict=True)]
    assert str(found) == " ".join(pairs)
    # The model reads 16 tokens.
    assert set(found.tags[:3]) <= {*made.task.labels}
    assert set(found.tags[16:]) == {None}
    assert model.predict(["the old cat"]) == model.predict([("the", "old", "cat")])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped weight": (lambda f: _flip(f / "model.safetensors"), "model.safetensors is damaged"),
    "flipped graph": (lambda f: _flip(f / "model.onnx"), "model.onnx is damaged"),
    "flipped tokenizer": (lambda f: _flip(f / "tokenizer.json"), "tokenizer.json is damaged"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no task": (lambda f: (f / "task.json").unlink(), "task.json cannot be read"),
    "newer": (lambda f: _edit(f / "task.json", format=9), "task.json cannot be read"),
    "other task": (lambda f: _edit(f / "task.json", name="chess"), "task.json cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(
    damage: str, of_task: Callable[[str], Exported], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(of_task("classification").folder, tmp_path / "damaged"))
    assert isinstance(load(folder), Model)
    act, message = DAMAGES[damage]
    act(folder)
    with pytest.raises(ModelError, match=message):
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
    model = load(made.folder)
    assert model.predict([turned.getvalue()]) == model.predict([picture])
