"""What a search file may say, and how a wrong one is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spaces.cost.architecture import Architecture
from spaces.cost.flops import pretraining_step_flops
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError, load, ready_made, validate

WRONG = {
    "unknown key": ("trails", 3, "trails: is not a known key; did you mean trials?"),
    "unknown nested key": ("space.dept", 3, "space.dept: is not a known key; did you mean depth?"),
    "wrong type": ("trials", "many", "trials: input should be a valid integer"),
    "text for a number": ("seed", "1", "seed: input should be a valid integer"),
    "a fraction of a trial": ("trials", 2.5, "trials: input should be a valid integer"),
    "out of range": ("space.sparsity", 1.0, "space.sparsity: input should be less than 1"),
    "not a number": ("training.learning_rate", float("nan"), "training.learning_rate"),
    "infinite": ("training.fine_tuning", float("inf"), "training.fine_tuning"),
    "unknown choice": ("space.quantisation", "int5", "'none', 'bf16', 'fp16', 'static-8', 'smo"),
    "unknown sampler": ("sampler", "magic", "'tpe', 'gp', 'nsgaii', 'random' or 'grid'"),
    "empty dimension": ("space.depth", {"low": 4, "high": 2}, "space.depth: empty: high (2)"),
    "half a dimension": ("space.depth", {"low": 4}, "space.depth: give choices, or both low and"),
    "step with log": ("space.depth", {"low": 1, "high": 4, "step": 1, "log": True}, "step has no"),
    "repeated choice": ("space.depth", {"choices": [1, 1]}, "the choices repeat a value"),
    "no default heads": ("space.width", 40, "space.width: a width of 40 has no default number"),
    "heads that do not divide": ("space.heads", 3, "space.heads: 3 heads do not divide a width"),
    "group too large": ("space.group_size", 64, "space.group_size: a group of 64 does not fit"),
    "budget too small": ("space.budget", {"choices": [3]}, "space.budget: 3 steps is only 3"),
    "size that nothing meets": ("constraints.max_size_mb", 1e-4, "the smallest model of this"),
    "FLOPs that nothing meets": ("constraints.max_flops", 10, "constraints.max_flops: nothing"),
    "latency without a limit": (
        "objectives", ["accuracy", "latency_ms"], "latency_ms needs constraints.max_latency_ms",
    ),
    "path as a name": ("name", "../other", "name: string should match pattern"),
    "missing source": (
        "data.labelled",
        {"train": "x.tsv"},
        "data.labelled.source: is missing; allowed: standard_library, files, hub",
    ),
    "unknown source": ("data.labelled", {"source": "ftp"}, "data.labelled"),
    "a reader for a name of the Hub": (
        "data.unlabelled", {"source": "hub", "dataset": "text"},
        "data.unlabelled.dataset: 'text' reads files of this machine; name a data set of the Hub",
    ),
    "a split that is another": (
        "data.unlabelled", {"source": "files", "train": "a.jsonl", "validation": "./a.jsonl"},
        "data.unlabelled.validation: './a.jsonl' is the train split too; give each its own, or lea",
    ),
    "a split of the Hub that is another": (
        "data.labelled",
        {"source": "hub", "dataset": "a/b", "validation": "test", "test": "test"},
        "data.labelled.test: 'test' is the validation split too",
    ),
    "no task": ("task", {"classes": 2}, "task.name: is missing; allowed: classification, masked"),
    "unknown task": ("task", {"name": "parsing"}, "'masked-lm', 'causal-lm', 'translation'"),
    "a task without its data": ("data.unlabelled", None, "data.unlabelled: is missing; task"),
    "data of another task": (
        "data.images", {"source": "digits"}, "data.images: task classification does not read it; "
        "it reads data.unlabelled, data.labelled",
    ),
    "metric of another task": (
        "objectives", ["bleu", "size_mb"], "task classification is scored by accuracy, not bleu",
    ),
    "no fine-tuning": ("training.fine_tuning", None, "training.fine_tuning: is missing; task"),
    "a decoder that is not there": (
        "space.decoder_depth", 2, "space.decoder_depth: task classification has no decoder",
    ),
    "fit to nothing": ("space.compression", "fit", "space.compression: fit needs a fixed cost"),
    "a budget that overflows": (
        "space.budget", {"low": 1e-300, "high": 1e300, "log": True}, "space.budget.high: input sho",
    ),
    "more doublings than a number has": (
        "space.budget", {"low": 1e-300, "high": 1e30, "log": True}, "space.budget: 1e-300 steps is",
    ),
    "steps without end": (
        "space.sparsity", {"low": 0, "high": 0.5, "step": 1e-320}, "space.sparsity: more than 10,",
    ),
    "a task of several names": ("task", {"name": ["a"]}, "task: Input tag"),
    "a decay of no step": ("training.decay_fraction", 0.01, "decay_fraction: 0.01 is less than"),
    "recovery of no step": ("space.recovery", 0.5, "space.recovery: 0.5 steps is less than a step"),
    "negative recovery": ("space.recovery", -1.0, "space.recovery: input should be greater than"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_the_path_of_the_field(
    name: str, document: dict[str, Any]
) -> None:
    path, value, message = WRONG[name]
    changed = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = changed
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    with pytest.raises(SearchFileError) as caught:
        validate(changed)
    assert message in str(caught.value)


OF_OTHER_TASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "fine-tuning where there is none": (
        "masked-lm",
        {"training__fine_tuning": 20.0},
        "training.fine_tuning: task masked-lm has none",
    ),
    "accuracy of a language model": (
        "causal-lm",
        {"objectives": ["accuracy"]},
        "task causal-lm is scored by perplexity, not acc",
    ),
    "labels for a language model": (
        "causal-lm", {"data__labelled": {"source": "standard_library"}},
        "data.labelled: task causal-lm does not read it; it reads data.unlabelled",
    ),
    "no pairs": ("translation", {"data__parallel": None}, "data.parallel: is missing; task transl"),
    "one side of a translation": (
        "translation", {"data__parallel": {"source": "aligned_files", "train": ["only.en"]}},
        "data.parallel.train",
    ),
    "a side of a translation in two splits": (
        "translation", {"data__parallel__validation": ["dev.en", "dev.fr"],
        "data__parallel__test": ["test.en", "dev.fr"]},
        "data.parallel.test: 'dev.fr' is the validation split too",
    ),
    "no images": ("image-classification", {"data__images": None}, "data.images: is missing; task"),
    "a patch that does not divide": (
        "image-classification", {"data__patch_size": 3},
        "data.patch_size: 3 does not divide data.image_size, 8",
    ),
    "a decoder of an encoder": (
        "image-classification", {"space__decoder_depth": 1}, "task image-classification has no dec",
    ),
    "a depth of none": ("translation", {"space__decoder_depth": 0}, "space.decoder_depth"),
    "channels that cannot be turned in pairs": (
        "causal-lm",
        {"space__width": 96, "space__heads": 32},
        "space.heads: 32 heads of a width of 96 have 3 channels each; task causal-lm needs an even",
    ),
    "compression that makes nothing smaller": (
        "causal-lm",
        {
            "space__quantisation": "none",
            "space__pruning": "unstructured",
            "space__sparsity": 0.01,
        },
        "space.sparsity: no compression of this space makes a model smaller than its dense weights",
    ),
    "2:4 that is not half": (
        "masked-lm",
        {"space__pruning": "2:4", "space__sparsity": 0.9},
        "space.sparsity: 0.9, but pruning 2:4 removes exactly half; give 0 and 0.5",
    ),
    "fit to a size that nothing has": (
        "masked-lm", {"space__compression": "fit", "constraints__max_size_mb": 1e-4},
        "constraints.max_size_mb: nothing can meet 0.0001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_OTHER_TASKS)
def test_what_does_not_suit_the_task_is_refused(
    name: str, make_task_search: Callable[..., SearchFile]
) -> None:
    task, fields, message = OF_OTHER_TASKS[name]
    with pytest.raises(SearchFileError) as caught:
        make_task_search(task, **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("classification", "accuracy"),
        ("masked-lm", "perplexity"),
        ("causal-lm", "perplexity"),
        ("translation", "bleu"),
        ("image-classification", "accuracy"),
    ],
)
def test_without_objectives_the_tasks_metric_is_weighed_against_size(
    task: str, metric: str, make_task_search: Callable[..., SearchFile]
) -> None:
    search = make_task_search(task)
    assert search.objectives == (metric, "size_mb")
    assert search.metric.name == metric


def test_a_decoder_is_as_deep_as_the_encoder_if_nothing_else_is_said(
    make_task_search: Callable[..., SearchFile],
) -> None:
    def depths(**fields: Any) -> set[tuple[int, int]]:
        space = SearchSpace(make_task_search("translation", **fields))
        architectures = {space.configuration(point).architecture for point in space.points()}
        return {(a.depth, a.decoder_depth) for a in architectures}

    assert depths() == {(1, 1), (2, 2)}
    assert depths(space__decoder_depth={"low": 1, "high": 2}) == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.mark.parametrize("places", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
def test_the_largest_model_counts_wherever_its_width_is_named(
    places: tuple[int, ...], make_search: Any
) -> None:
    widths = [[128, 256, 4096][place] for place in places]
    search = make_search(space__feed_forward={"choices": widths})
    assert SearchSpace(search).largest_parameters() > 500_000
    medium = Architecture.of(2, 64, feed_forward=256)
    step = pretraining_step_flops(medium, search.workload, batch_size=16)
    budget = {"unit": "flops", "choices": [20 * step]}
    make_search(space__budget=budget, training__fine_tuning=1e12, space__feed_forward=256)
    with pytest.raises(SearchFileError, match=r"space\.budget: .* only [1-9] steps"):
        make_search(
            space__budget=budget,
            training__fine_tuning=1e12,
            space__feed_forward={"choices": widths},
        )


def test_a_missing_key_is_named(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    del changed["space"]["budget"]
    with pytest.raises(SearchFileError, match=r"space\.budget: is missing"):
        validate(changed)


def test_all_faults_are_told_at_once(document: dict[str, Any]) -> None:
    changed = {**copy.deepcopy(document), "trials": 0, "seed": -1}
    with pytest.raises(SearchFileError) as caught:
        validate(changed)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "a: 1\na: 2", "&a [*a]", "", "a: !!python/name:os.system"]
)
def test_what_is_not_a_search_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(SearchFileError):
        load(str(path))


def test_overrides_are_read_as_yaml(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(document))
    search = load(str(path), ["space.depth.high=4", "training.learning_rate=5e-4", "name=other"])
    assert search.space.depth.values == (1, 2, 3, 4)
    assert search.training.learning_rate == 5e-4
    assert search.name == "other"
    with pytest.raises(SearchFileError, match="must look like"):
        load(str(path), ["space.depth"])
    with pytest.raises(SearchFileError, match="trials is 6, which has no"):
        load(str(path), ["trials.high=2"])


def test_dimensions_in_the_words_of_optuna(make_search: Any) -> None:
    search = make_search(
        space__depth={"low": 1, "high": 8, "log": True},
        space__width={"low": 32, "high": 96, "step": 32},
        space__sparsity={"low": 0.0, "high": 0.3, "step": 0.1},
        space__budget={"unit": "tokens", "low": 1e4, "high": 4e4, "log": True},
        training__fine_tuning=1e4,
        space__quantisation="rtn-4",
    )
    assert search.space.depth.values == (1, 2, 4, 8)
    assert search.space.width.values == (32, 64, 96)
    assert search.space.sparsity.values == (0.0, 0.1, 0.2, 0.3)
    assert search.space.budget.values == (1e4, 2e4, 4e4)
    assert SearchSpace(search).size == 4 * 3 * 4 * 3


@pytest.mark.parametrize("name", ready_made())
def test_ready_made_searches_are_valid(name: str) -> None:
    assert SearchSpace(load(name)).size > load(name).trials


def test_what_may_change_between_stop_and_resume(make_search: Any) -> None:
    search = make_search()
    for field, value in {
        "trials": 99,
        "hours": 1.0,
        "concurrency": 1,
        "sampler": "gp",
        "resources": {"workers": 2, "strategy": "fsdp"},
    }.items():
        assert make_search(**{field: value}).fingerprint == search.fingerprint
    for field, value in {"seed": 7, "space__depth": 1, "training__batch_size": 8}.items():
        assert make_search(**{field: value}).fingerprint != search.fingerprint


def test_larger_models_have_the_fields_of_smaller_ones_where_none_are_given(
    make_search: Any,
) -> None:
    search = make_search(
        resources={
            "cpus": 2,
            "memory_gb": 4.0,
            "larger_models": [
                {"from_parameters": 1_000, "workers": 2},
                {"from_parameters": 9_000, "strategy": "fsdp", "memory_gb": 16.0},
            ],
        }
    )
    # A worker reads the search file as JSON, where every field has a value.
    resources = SearchFile.model_validate_json(search.model_dump_json()).resources
    small, medium, large = (resources.placement(size) for size in (999, 1_000, 9_000))
    assert (small.cpus, small.workers, small.strategy, small.memory_gb) == (2, 1, "ddp", 4.0)
    assert (medium.cpus, medium.workers, medium.strategy, medium.memory_gb) == (2, 2, "ddp", 4.0)
    assert (large.cpus, large.workers, large.strategy, large.memory_gb) == (2, 2, "fsdp", 16.0)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": 3}, r"resources\.workers: 3 cannot share training\.batch_size 16 evenly"),
        ({"workers": 2, "gpus": 0.5}, r"resources\.gpus: 2 workers need devices of their own"),
        ({"strategy": "fsdp"}, r"resources\.strategy: fsdp divides a model among workers"),
        (
            {"larger_models": [{"from_parameters": 9, "workers": 5}]},
            r"resources\.larger_models\.0\.workers: 5 cannot share",
        ),
        (
            {"gpus": 0.5, "larger_models": [{"from_parameters": 9, "workers": 2}]},
            r"resources\.larger_models\.0\.gpus: 2 workers need devices",
        ),
        (
            {"larger_models": [{"from_parameters": 9}, {"from_parameters": 5}]},
            r"resources\.larger_models: from_parameters must rise",
        ),
    ],
)
def test_workers_that_cannot_share_are_refused(
    resources: dict[str, Any], message: str, make_search: Any
) -> None:
    with pytest.raises(SearchFileError, match=message):
        make_search(resources=resources)


HOSTILE = {
    "code": ("name: !!python/object/apply:os.system ['touch stolen']", "is not valid YAML"),
    "a key that is a list": ("? [a, b]\n: 1", "line 1: a key must be a text"),
    "a key that is a mapping": ("? {a: b}\n: 1", "line 1: a key must be a text"),
    "a number without end": ("name: x\ntrials: 0x" + "f" * 9000, "a number that is too long"),
    "a number in base 60": ("name: x\ntrials: " + ":".join(["59"] * 9000), "that is too long"),
    "too deep": ("name: " + "[" * 20_000, "is not valid YAML"),
    "holds itself": ("name: x\nspace: &s {depth: *s}", "space.depth.depth: is not a known key"),
    "too large": ("# " * 60_000, "larger than 100,000 bytes"),
    "a text that is no value": ("name: x\ntrials: " + "y" * 50_000, "trials: input should be"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_few_words(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    (tmp_path / "search.yaml").write_text(content)
    with pytest.raises(SearchFileError) as refused:
        load(str(tmp_path / "search.yaml"))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 5000
    assert not Path("stolen").exists()


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(SearchFileError, match="larger than 100,000 bytes"):
        load("/dev/zero")


def test_references_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    (tmp_path / "search.yaml").write_text("\n".join([*lines, "space: {depth: {choices: *i}}"]))
    with pytest.raises(SearchFileError, match=r"space\.depth"):
        load(str(tmp_path / "search.yaml"))


def test_of_many_faults_the_first_are_told(document: dict[str, Any]) -> None:
    with pytest.raises(SearchFileError) as refused:
        validate({**document, **{f"key{number}": 1 for number in range(5000)}})
    assert len(refused.value.faults) == 21
    assert refused.value.faults[-1] == "and 4,980 more faults"
