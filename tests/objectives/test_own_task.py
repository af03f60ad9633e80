"""A task that a user wrote: opened before any training, trained and scored as tlc's own."""

from __future__ import annotations

import importlib
import io
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.completion import completed
from objectives.data.batches import logits
from objectives.failures import TrialFailure
from objectives.models.build import build
from objectives.models.own import OwnModelError
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.tasks.own.code import code_of
from objectives.tasks.own.schema import schema_with_task
from objectives.tasks.own.shipping import archive_of
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.size import size_bytes
from spaces.errors import UserError
from spaces.file.own_task import registered
from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.own_package import own_document, write_package

OpenOwn = Callable[..., SearchFile]
_numbers = itertools.count()


@pytest.fixture
def open_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenOwn:
    """Write a package with changes, and open a search of its task with some fields."""
    monkeypatch.syspath_prepend(tmp_path)

    def opened(*changes: tuple[str, str], name: str = "", **task: Any) -> SearchFile:
        package = name or f"own{next(_numbers)}"
        write_package(tmp_path, package, *changes)
        importlib.invalidate_caches()
        search, _ = completed(validate(own_document(package, **task)), tmp_path / "data")
        return search

    return opened


def refused(open_own: OpenOwn, *changes: tuple[str, str], **task: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        open_own(*changes, **task)
    return caught.value


def test_it_is_trained_compressed_and_scored(open_own: OpenOwn, home: Path) -> None:
    search = open_own()
    compression = Compression(Quantisation.STATIC_8, pruning=Pruning.HEADS, sparsity=0.5)
    configuration = Configuration(Architecture.of(2, 64), 120, compression)
    objective = Objective(search)
    found = objective.evaluate(configuration)
    assert found.dense_score > 0.9
    assert found.score > 0.6
    assert found.score_low < found.score <= found.score_high
    assert found.examples == 64
    assert abs(found.size_bytes - found.predicted_size_bytes) < 0.01 * found.size_bytes
    assert objective.test(found.model).value > 0.6
    (majority,) = objective.references(["validation"])
    assert majority["name"] == "majority class"
    assert majority["scores"]["validation"]["score"] < 0.6


def test_its_arithmetic_is_that_of_its_models(open_own: OpenOwn) -> None:
    search = open_own(symbols=64, length=96)  # as wide as two of the models that are read
    for depth, width in ((1, 32), (3, 64), (2, 96)):
        architecture = Architecture.of(depth, width)
        model = build(architecture.shape, search.workload)
        counted = sum(parameter.numel() for parameter in model.parameters())
        assert parameters(architecture, search.workload) == counted
    assert search.workload.sequence_length == 96
    assert search.metric.guessing == 1 / 64
    plain = size_bytes(Architecture.of(1, 32), search.workload, Compression())
    assert plain > 4 * parameters(Architecture.of(1, 32), search.workload)


def key_of(search: SearchFile, data: Path) -> str:
    task = make_task(search, prepare_for(search, data))
    return task.path(Configuration(Architecture.of(1, 32), 20, Compression())).key


def test_fields_and_code_are_in_the_key_of_training(open_own: OpenOwn, tmp_path: Path) -> None:
    usual = open_own(name="keyed")
    keys = {key_of(usual, tmp_path / "data")}
    keys.add(key_of(open_own(name="keyed", symbols=4), tmp_path / "data"))
    changed = open_own(("gelu", "relu"), name="changed_code")
    assert changed.task.opened.code != usual.task.opened.code  # type: ignore[union-attr]
    keys.add(key_of(changed, tmp_path / "data"))
    assert len(keys) == 3


def test_a_version_stands_for_the_code(open_own: OpenOwn) -> None:
    versioned = ("length: int = 8", 'length: int = 8\n    version = "7"')
    search = open_own(versioned)
    assert search.task.opened.code == "version 7"  # type: ignore[union-attr]
    assert open_own(versioned, ("gelu", "relu")).task.opened.code == "version 7"  # type: ignore[union-attr]


def test_code_that_changed_since_the_search_started_is_refused(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(name="edited")
    write_package(tmp_path, "edited", ("gelu", "relu"))
    with pytest.raises(UserError, match=r"task\.name: edited\.tasks:FirstSymbol: its code has ch"):
        make_task(search, prepare_for(search, tmp_path / "data"))


def test_a_description_alone_runs_no_code(open_own: OpenOwn, monkeypatch: Any) -> None:
    search = open_own()
    monkeypatch.setattr("objectives.models.own._factories", {})
    with pytest.raises(OwnModelError, match="open its search first"):
        build(Architecture.of(1, 32).shape, search.workload)


def test_a_metric_and_scores_of_its_own_have_an_interval_of_groups(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(
        ('"labels": tokens[:, 0]}', '"labels": tokens[:, 0], "group": np.arange(rows) // 8}'),
        (
            "    def model(",
            "    metric = tlc.Metric('brier', guessing=0.7, perfect=0.0)\n\n"
            "    def scores(self, model, batch):\n"
            "        chances = model(batch['input_ids']).logits.softmax(-1)\n"
            "        return (1 - chances.gather(1, batch['labels'][:, None]))[:, 0] ** 2\n\n"
            "    def model(",
        ),
    )
    assert search.objectives == ("brier", "size_mb")
    assert not search.metric.is_maximised
    assert search.metric.quality(0.35) == pytest.approx(0.5)
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload)
    score = task.score(model, "validation")
    assert score.low < score.value < score.high
    assert score.examples == 64


def test_a_score_that_is_no_mean_has_the_interval_of_a_bootstrap(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(
        (
            "    def model(",
            "    metric = tlc.Metric('median', guessing=0.0, perfect=1.0)\n\n"
            "    def scores(self, model, batch):\n"
            "        return model(batch['input_ids']).logits.softmax(-1).amax(-1)\n\n"
            "    def value(self, scores):\n"
            "        return float(np.median(scores))\n\n"
            "    def model(",
        ),
    )
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload).eval()
    score = task.score(model, "validation")
    columns = task.prepared.columns("validation")
    chances = logits(model, {"input_ids": torch.from_numpy(columns["input_ids"].copy())})
    assert score.value == pytest.approx(float(chances.softmax(-1).amax(-1).median()), abs=1e-2)
    assert score.low < score.high


def test_labels_of_tokens_are_scored_by_row(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(
        ('"labels": tokens[:, 0]', '"labels": np.where(tokens > 0, tokens, -100)'),
        ("self.norm(states)[:, 0]", "self.norm(states)"),
    )
    assert search.workload.classes == 0  # as many outputs as symbols: a language model
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload)
    assert 0.0 < task.score(model, "test").value < 1.0


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ([], {"symbols": "3"}, r"task.symbols: input should be a valid integer, but is '3'"),
        ([], {"symbol": 3}, r"task.symbol: is not a known key; did you mean symbols?"),
        ([("class FirstSymbol(tlc.Task)", "class Second(tlc.Task)")], {}, "it has Second"),
        ([("(tlc.Task)", "")], {}, "names no subclass of tlc.Task"),
        ([("import numpy as np", "import numpyy as np")], {}, "No module named 'numpyy'"),
        ([("import numpy as np", "1 / 0")], {}, "ZeroDivisionError: division by zero"),
        ([("    def data(", "    def rows(")], {}, "has no data(), which a task needs"),
        ([("symbols: int", "seed: int"), ("self.symbols", "self.seed")], {}, "task.seed: "),
        ([("return splits", "raise OSError('gone')")], {}, "data() raised OSError: gone ("),
        ([('"test": 64', '"held_out": 64')], {}, "allowed are the splits train, validation, test"),
        ([('"labels": tokens[:, 0]', '"labels": ["a"] * rows')], {}, "that holds no numbers"),
        ([('"labels": tokens[:, 0]', '"labels": tokens[1:, 0]')], {}, "different numbers of rows"),
        ([("0, self.symbols, (rows", "0, 9, (rows")], {}, "an embedding of 3 tokens"),
        ([('"input_ids": tokens', '"symbols": tokens')], {}, "none is an input of a model"),
        ([("return Reader(", "return str(")], {}, "allowed is a PreTrainedModel"),
        ([("neurons=architecture.feed_forward", "neurons=64")], {}, "of feed_forward 64 where"),
        (
            [("config.symbols)\n        self.post", "3 * config.depth)\n        self.post")],
            {},
            "weights that do not follow",
        ),
        ([("logits=self.head", "hidden_states=self.head")], {}, "must return logits"),
        ([("functional.scaled_dot_product_attention(query, key, value)", "value")], {}, "no layer"),
        (
            [
                (
                    "    def model(",
                    "    def loss(self, model, batch):\n        1 / 0\n\n    def model(",
                )
            ],
            {},
            "loss() raised ZeroDivisionError: division by zero (",
        ),
        (
            [
                (
                    "    def model(",
                    "    def loss(self, model, batch):\n"
                    "        return super().loss(model, batch) / 0\n\n    def model(",
                )
            ],
            {},
            "loss() of an untrained model is inf; it must be finite",
        ),
        (
            [("length: int = 8", "length: int = 8\n    metric = 'f2'")],
            {},
            "metric is 'f2'; allowed",
        ),
    ],
)
def test_it_is_refused_before_any_training(
    changes: list[tuple[str, str]], fields: dict[str, Any], message: str, open_own: OpenOwn
) -> None:
    assert message in str(refused(open_own, *changes, **fields))


def test_the_error_of_the_user_is_the_cause(open_own: OpenOwn, tmp_path: Path) -> None:
    error = refused(open_own, ("return splits", "raise OSError('gone')"), name="raising")
    assert isinstance(error.__cause__, OSError)
    assert f"{tmp_path / 'raising' / 'tasks.py'}, line " in str(error)


def test_data_that_is_drawn_anew_is_refused(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(("default_rng(0)", "default_rng()"))
    with pytest.raises(UserError, match=r"data\(\) of .* gave other rows than when the search"):
        prepare_for(search, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": {"images": {"source": "digits"}}}, "data.images: task own.tasks:FirstSymbol has"),
        ({"model": {"from": "./here"}}, "starts from random weights; leave model out"),
        ({"objectives": ["accuracy", "size_kb"]}, "objectives"),
        ({"task": {"name": "own.tasks"}}, "does not match any of the expected tags"),
        ({"task": {"name": "own tasks:First"}}, "task.name: 'own tasks:First' names no class"),
        ({"training": {"dropout": 0.1}}, "training.dropout: the models of own.tasks:FirstSymbol"),
    ],
)
def test_a_search_file_is_refused_without_importing_anything(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        validate({**own_document("own"), **section})
    assert message in str(caught.value)


def test_a_trial_of_a_model_that_becomes_another_fails_alone(open_own: OpenOwn, home: Path) -> None:
    search = open_own(("width = config.width\n", "width = min(160, config.width)\n"))
    broken = Configuration(Architecture.of(1, 192), 20, Compression())
    with pytest.raises((OwnModelError, TrialFailure), match="made other weights"):
        Objective(search).evaluate(broken)


def test_its_model_is_an_ordinary_module(open_own: OpenOwn) -> None:
    search = open_own()
    model = build(Architecture.of(1, 32).shape, search.workload)
    assert isinstance(model, nn.Module)
    assert type(model).__module__.endswith(".reader")


@pytest.fixture
def registered_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name under which a package registers its task as an entry point."""
    package = f"own{next(_numbers)}"
    write_package(tmp_path, package)
    facts = tmp_path / f"{package}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[tlc.tasks]\nfirst-symbol = {package}.tasks:FirstSymbol\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registered.cache_clear()
    yield "first-symbol"
    monkeypatch.undo()
    registered.cache_clear()


def test_an_entry_point_names_it(registered_package: str, tmp_path: Path) -> None:
    document = {**own_document("entry"), "task": {"name": registered_package, "symbols": 4}}
    search, _ = completed(validate(document), tmp_path / "data")
    assert search.metric.guessing == 0.25
    # A worker may have the code without the entry point.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("spaces.file.own_task.registered", dict)
        again = validate(search.to_dict())
        assert make_task(again, prepare_for(again, tmp_path / "data")).kind == registered_package


def test_the_schema_has_its_fields(open_own: OpenOwn) -> None:
    search = open_own()
    schema = schema_with_task(search.task.name)
    task = schema["properties"]["task"]
    assert task["properties"]["symbols"] == {"default": 3, "title": "Symbols", "type": "integer"}
    assert task["properties"]["name"]["const"] == search.task.name
    assert task["required"] == ["name"]
    assert not task["additionalProperties"]


def test_its_package_reaches_a_process_that_lacks_it(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(name="sent_away")
    archive = archive_of(search.task)  # type: ignore[arg-type]
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert names == [f"sent_away/{name}.py" for name in ("__init__", "reader", "tasks")]
    assert archive == archive_of(search.task)  # type: ignore[arg-type]
    (tmp_path / "archive").write_bytes(archive)
    (tmp_path / "search.json").write_text(json.dumps(search.to_dict()))
    script = (
        "import json, sys\nfrom pathlib import Path\n"
        "from objectives.tasks.own.importing import own_task\n"
        "from objectives.tasks.own.shipping import install\n"
        "from spaces.loading import validate\n"
        "install(Path('archive').read_bytes())\n"
        "print(own_task(validate(json.loads(Path('search.json').read_text())).task).symbols)\n"
        "print(sys.modules['sent_away.reader'].__file__)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("archive", "search.json"):
        (tmp_path / name).rename(elsewhere / name)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    symbols, file = done.stdout.split()
    assert symbols == "3"
    assert "tlc-tasks-" in file


def test_modules_beside_it_are_a_part_of_its_code(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "alone_task.py").write_text("import json\nimport beside_it\n")
    (tmp_path / "beside_it.py").write_text("def late():\n    import third_one\n")
    (tmp_path / "third_one.py").touch()
    (tmp_path / "unrelated.py").touch()
    code = code_of(importlib.import_module("alone_task"))
    assert code is not None
    assert code.names == ("alone_task", "beside_it", "third_one")
    before = code.digest
    (tmp_path / "third_one.py").write_text("x = 1\n")
    again = code_of(importlib.import_module("alone_task"))
    assert again is not None
    assert again.digest != before
