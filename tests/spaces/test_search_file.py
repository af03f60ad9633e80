"""Search files: valid ones, and the faults of wrong ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Quantisation
from spaces.cost.flops import pretraining_workload, training_step_flops
from spaces.cost.workload import Family
from spaces.file.search_file import SearchFile
from spaces.file.training import Training
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError, from_document, load, read_search, ready_made, validate

WRONG = [
    # Overrides, the field that the fault names, and what else it states: values and allowed ones.
    ("trails=3", "trails", "trials"),
    ("space.dept=3", "space.dept", "depth"),
    ("trials=many", "trials", "integer", "'many'"),
    ("seed='1'", "seed", "integer", "'1'"),
    ("trials=2.5", "trials", "integer", "2.5"),
    ("space.sparsity=1.0", "space.sparsity", "less than 1", "1.0"),
    ("training.learning_rate=.nan", "training.learning_rate", "nan"),
    ("training.fine_tuning.epochs=2.5", "training.fine_tuning.epochs", "integer", "2.5"),
    ("training.fine_tuning=20.0", "training.fine_tuning", "20.0"),
    ("training.fine_tuning.dropout=1.0", "training.fine_tuning.dropout", "1.0", "1"),
    ("training.fine_tuning.held_out=-0.1", "training.fine_tuning.held_out", "-0.1", "0"),
    ("space.quantisation=int5", "space.quantisation", "'int5'", *(f"'{q}'" for q in Quantisation)),
    ("sampler=magic", "sampler", "'magic'", "'frontier'", "'tpe'", "'grid'"),
    ("space.depth={low: 4, high: 2}", "space.depth", "4", "2"),
    ("space.depth={low: 4}", "space.depth", "choices", "low", "high"),
    ("space.depth={low: 1, high: 4, step: 1, log: true}", "space.depth", "step", "log"),
    ("space.depth={choices: [1, 1]}", "space.depth", "choices"),
    ("space.sparsity={low: 0, high: 0.5, step: 1e-320}", "space.sparsity", "10,000", "step"),
    ("space.budget={low: 1e-300, high: 1e300, log: true}", "space.budget.high", "1e+300", "1e+30"),
    ("space.budget={low: 1e-300, high: 1e30, log: true}", "space.budget", "1e-300"),
    ("space.budget={choices: [3]}", "space.budget", "3 steps", "10"),
    ("space.width=40", "space.width", "40", "32", "heads"),
    ("space.heads=3", "space.heads", "3", "32", "64"),
    ("space.head_width=24", "space.head_width", "24", "32", "64"),
    ("space.head_width=16; space.heads=2", "space", "heads", "head_width"),
    ("space.feed_forward_ratio=2.3", "space.feed_forward_ratio", "2.3", "32", "whole number"),
    ("space.feed_forward_ratio=2.0; space.feed_forward=64", "space", "feed_forward_ratio"),
    ("space.tied_embeddings=false", "space.tied_embeddings", "modernbert-classifier", "llama"),
    ("space.activation=gleu", "space.activation", "'gleu'", "'gelu'", "'silu'"),
    ("space.group_size=64", "space.group_size", "64", "32"),
    ("space.group_size=1", "space.group_size", "2"),
    ("measurement.runtime=tpu", "measurement.runtime", "'torch'", "'onnxruntime'"),
    (
        "space.quantisation.choices=[rtn-4,mixed-3]; measurement.runtime=onnxruntime",
        "space.quantisation", "mixed-3", "onnxruntime",
    ),
    ("space.decoder_depth=2", "space.decoder_depth", "classification"),
    ("space.recovery=0.5", "space.recovery", "0.5", "1"),
    ("space.recovery=-1.0", "space.recovery", "-1.0", "0"),
    ("space.compression=fit", "space.compression", "constraints.max_size_mb"),
    ("training.decay_fraction=0.01", "training.decay_fraction", "0.01", "20"),
    ("training.warmup_fraction=0.9", "training.warmup_fraction", "0.9", "smallest budget", "0.8"),
    ("training.warmup_fraction=0", "training.warmup_fraction", "0", "greater than 0"),
    ("task.encoder=none", "task.encoder", "'none'", "'modernbert'", "'roberta'"),
    ("constraints.max_size_mb=1e-4", "constraints.max_size_mb", "0.0001", "0.0"),
    ("constraints.max_flops=10", "constraints.max_flops", "10", "e+0"),
    ("objectives=[accuracy, latency_ms]", "objectives", "constraints.max_latency_ms"),
    ("objectives=[accuracy]", "objectives", "constraints.max_size_mb"),
    ("objectives=[bleu, size_mb]", "objectives", "bleu", "classification", "accuracy"),
    ("stop=auto", "stop", "sampler: frontier", "tpe"),
    ("name=../other", "name", "'../other'", "A-Za-z0-9"),
    ("task={classes: 2}", "task.name", "classification", "masked-lm"),
    ("task={name: parsing}", "task.name", "'parsing'", "causal-lm", "module:Class"),
    ("task={name: [a]}", "task.name", "classification"),
    ("data.labelled={train: a.tsv}", "data.labelled.source", "standard_library", "files", "hub"),
    ("data.labelled={source: ftp}", "data.labelled.source", "'ftp'", "files", "hub"),
    ("data.unlabelled=null", "data.unlabelled", "missing", "classification"),
    ("data.unlabelled.document=chapter", "data.unlabelled.document", "'chapter'", "'paragraph'"),
    ("data.unlabelled.heading='['", "data.unlabelled.heading", "regular expression"),
    (
        "data.unlabelled.document=line; data.unlabelled.separator=end",
        "data.unlabelled.separator", "document",
    ),
    ("data.unlabelled.group=author", "data.unlabelled.group", "documents"),
    ("data.labelled.document=line", "data.labelled.document", "row"),
    ("data.images={source: digits}", "data.images", "classification", "unlabelled, data.labelled"),
    ("data.unlabelled={source: hub, dataset: text}", "data.unlabelled.dataset", "'text'", "owner/"),
    (
        "data.unlabelled={source: files, train: a.jsonl, validation: ./a.jsonl}",
        "data.unlabelled.validation", "'./a.jsonl'", "train",
    ),
    (
        "data.labelled={source: hub, dataset: a/b, validation: test, test: test}",
        "data.labelled.test", "'test'", "validation",
    ),
    ("resources.workers=3", "resources.workers", "3", "training.batch_size, 16"),
    ("resources={workers: 2, gpus: 0.5}", "resources.gpus", "2 workers", "0.5", "whole"),
    ("resources.strategy=fsdp", "resources.strategy", "fsdp", "at least 2"),
    (
        "resources.larger_models=[{from_parameters: 9, workers: 5}]",
        "resources.larger_models.0.workers", "5", "training.batch_size, 16",
    ),
    (
        "resources={gpus: 0.5, larger_models: [{from_parameters: 9, workers: 2}]}",
        "resources.larger_models.0.gpus", "2 workers", "0.5",
    ),
    (
        "resources.larger_models=[{from_parameters: 9}, {from_parameters: 5}]",
        "resources.larger_models", "[9, 5]",
    ),
    # The same for another task.
    ("masked-lm | training.fine_tuning={}", "training.fine_tuning", "masked-lm"),
    ("masked-lm | space.pruning='2:4'; space.sparsity=0.9", "space.sparsity", "0.9", "0, 0.5"),
    (
        "masked-lm | space.compression=fit; constraints.max_size_mb=1e-4",
        "constraints.max_size_mb", "0.0001", "0.01",
    ),
    (
        "causal-lm | objectives=[accuracy]; constraints.max_size_mb=1.0",
        "objectives", "accuracy", "causal-lm", "perplexity",
    ),
    (
        "causal-lm | data.labelled={source: standard_library}",
        "data.labelled", "causal-lm", "data.unlabelled",
    ),
    (
        "causal-lm | space.width=96; space.heads=32",
        "space.heads", "32", "96", "3 channels", "even",
    ),
    (
        "causal-lm | space.width=96; space.head_width={choices: [8, 3]}",
        "space.head_width", "32", "96", "3 channels", "even",
    ),
    (
        "causal-lm | space.quantisation=none; space.pruning=unstructured; space.sparsity=0.01",
        "space.sparsity", "smaller", "0",
    ),
    ("translation | data.parallel=null", "data.parallel", "missing", "translation"),
    ("translation | space.decoder_depth=0", "space.decoder_depth", "1", "0"),
    (
        "regression | training.fine_tuning.label_smoothing=0.1",
        "training.fine_tuning.label_smoothing", "regression", "no classes", "leave it out",
    ),
    ("regression | objectives=[accuracy, size_mb]", "objectives", "spearman, pearson or rmse"),
    ("token-classification | data.tagged=null", "data.tagged", "missing", "token-classification"),
    (
        "token-classification | objectives=[matthews, size_mb]",
        "objectives", "f1, accuracy, balanced-accuracy or macro-f1", "matthews",
    ),
    ("token-classification | data.tagged.tag=0", "data.tagged.tag", "0", "column of words"),
    (
        "token-classification | data.labelled={source: standard_library}",
        "data.labelled", "token-classification", "data.unlabelled, data.tagged",
    ),
    ("masked-lm | data.target_length=20", "data.target_length", "masked-lm", "leave it out"),
    ("summarisation | objectives=[bleu, size_mb]", "objectives", "rouge-1 or rouge-2", "bleu"),
    ("translation | objectives=[chrF, size_mb]", "objectives", "bleu or chrf, not chrF"),
    ("causal-lm | objectives=[perplexity, size]", "objectives", "not size", "size_mb"),
    ("causal-lm | objectives=perplexity", "objectives", "list", "'perplexity'"),
    ("causal-lm | from_searches=[a, a]", "from_searches", "'a'", "once"),
    ("regression | task.classes=2", "task.classes", "not a known key", "deviation", "encoder"),
    (
        "translation | data.parallel.columns=[en]", "data.parallel.columns",
        "not a known key", "source", "test", "train", "validation",
    ),
    ("translation | data.parallel.train=[a.en, a.en]", "data.parallel.train", "'a.en'", "twice"),
    (
        "summarisation | data.parallel={source: files, train: a.csv, text: t, target: t}",
        "data.parallel.target", "'t'", "text",
    ),
    (
        "causal-lm | space.recovery=50; training.recovery_distillation.temperature=1e30",
        "training.recovery_distillation.temperature", "1e+30", "100",
    ),
    (
        "causal-lm | space.quantisation=mixed-3; space.sparsity=0; space.recovery=50; "
        "training.recovery_distillation={}",
        "training.recovery_distillation", "no model", "space.recovery",
    ),
    (
        "translation | data.parallel={source: aligned_files, train: [only.en]}",
        "data.parallel.train", "at least 2",
    ),
    (
        "translation | data.parallel.validation=[a.en, a.fr]; data.parallel.test=[b.en, a.fr]",
        "data.parallel.test", "'a.fr'", "validation",
    ),
    ("image-classification | data.images=null", "data.images", "missing", "image-classification"),
    ("image-classification | data.patch_size=3", "data.patch_size", "3", "8"),
    (
        "image-classification | data.image_processor={mean: [0.4, 0.5]}",
        "data.image_processor.mean", "2", "one",
    ),
    (
        "image-classification | data.image_processor={resize: 4}",
        "data.image_processor.resize", "4", "8",
    ),
    ("image-classification | space.decoder_depth=1", "space.decoder_depth", "image-classification"),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[0])
def test_a_fault_names_the_field_the_value_and_what_is_allowed(
    case: tuple[str, ...], task_documents: dict[str, dict[str, Any]]
) -> None:
    overrides, field, *stated = case
    *task, overrides = overrides.split(" | ")
    document = task_documents[task[0] if task else "classification"]
    with pytest.raises(SearchFileError) as refused:
        from_document(document, overrides.split("; "))
    faults = [fault.partition(": ") for fault in refused.value.faults]
    fault = " ".join(text for named, _, text in faults if named == field)
    assert fault
    assert [text for text in stated if text not in fault] == []


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("classification", "accuracy"),
        ("regression", "spearman"),
        ("token-classification", "f1"),
        ("masked-lm", "perplexity"),
        ("causal-lm", "perplexity"),
        ("translation", "bleu"),
        ("summarisation", "rouge-l"),
        ("image-classification", "accuracy"),
    ],
)
def test_the_default_objectives_are_the_metric_of_the_task_and_size(
    task: str, metric: str, make_task_search: Callable[..., SearchFile]
) -> None:
    search = make_task_search(task)
    assert search.objectives == (metric, "size_mb")
    assert search.metric.name == metric


def test_a_decoder_is_as_deep_as_the_encoder_by_default(
    make_task_search: Callable[..., SearchFile],
) -> None:
    def depths(**fields: Any) -> set[tuple[int, int]]:
        space = SearchSpace(make_task_search("translation", **fields))
        architectures = {space.configuration(point).architecture for point in space.points()}
        return {(a.depth, a.decoder_depth) for a in architectures}

    assert depths() == {(1, 1), (2, 2)}
    assert depths(space__decoder_depth={"low": 1, "high": 2}) == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.mark.parametrize("widths", [(128, 256, 4096), (128, 4096, 256), (4096, 256, 128)])
def test_the_largest_model_is_found_in_any_order_of_widths(
    widths: tuple[int, ...], make_search: Any
) -> None:
    search = make_search(space__feed_forward={"choices": list(widths)})
    assert SearchSpace(search).largest_parameters > 500_000
    medium = Architecture.of(2, 64, feed_forward=256)
    step = training_step_flops(medium, pretraining_workload(search.workload), batch_size=16)
    budget = {"unit": "flops", "choices": [20 * step]}
    make_search(space__budget=budget, space__feed_forward=256)
    with pytest.raises(SearchFileError, match=r"^search: space\.budget: .* [1-9] steps"):
        make_search(
            space__budget=budget,
            space__feed_forward={"choices": list(widths)},
        )


PRE_NORM = (Family.MODERNBERT_CLASSIFIER, Family.MODERNBERT_MASKED_LM)


@pytest.mark.parametrize("name", ["classification", "masked-lm"])
def test_layers_are_pre_norm_by_default_and_post_norm_is_another_search(
    name: str, make_task_search: Callable[..., SearchFile]
) -> None:
    default, post = make_task_search(name), make_task_search(name, task__encoder="roberta")
    assert default.workload.family in PRE_NORM
    assert post.workload.family not in PRE_NORM
    assert default.fingerprint != post.fingerprint


def test_the_warm_up_is_a_fraction_of_the_smallest_budget() -> None:
    training = Training(warmup_fraction=0.25)
    assert [training.warmup_steps(steps) for steps in (200, 10, 3)] == [50, 2, 1]


def test_a_missing_key_is_named(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    del changed["space"]["budget"]
    with pytest.raises(SearchFileError, match=r"space\.budget: is missing"):
        validate(changed)


def test_all_faults_are_reported_together(document: dict[str, Any]) -> None:
    changed = {**copy.deepcopy(document), "trials": 0, "seed": -1}
    with pytest.raises(SearchFileError) as caught:
        validate(changed)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "a: 1\na: 2", "&a [*a]", "", "a: !!python/name:os.system"]
)
def test_a_document_that_is_no_search_is_refused(text: str, tmp_path: Path) -> None:
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


def test_what_is_no_search_and_no_override_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SearchFileError, match="5 is no search; allowed: a path, a name, or a map"):
        read_search(5)  # type: ignore[arg-type]
    for overrides in (5, {5: 1}, [{"trials": 5}]):
        with pytest.raises(SearchFileError, match=r"5.* must be a text such as space\.depth"):
            read_search(document, overrides)  # type: ignore[arg-type]


def test_dimensions_by_low_high_step_and_log(make_search: Any) -> None:
    search = make_search(
        space__depth={"low": 1, "high": 8, "log": True},
        space__width={"low": 32, "high": 96, "step": 32},
        space__sparsity={"low": 0.0, "high": 0.3, "step": 0.1},
        space__budget={"unit": "tokens", "low": 1e4, "high": 4e4, "log": True},
        space__quantisation="rtn-4",
    )
    assert search.space.depth.values == (1, 2, 4, 8)
    assert search.space.width.values == (32, 64, 96)
    assert search.space.sparsity.values == (0.0, 0.1, 0.2, 0.3)
    assert search.space.budget.values == (1e4, 2e4, 4e4)
    assert SearchSpace(search).size == 4 * 3 * 4 * 3


@pytest.mark.parametrize("name", ready_made())
def test_ready_made_searches_are_valid(name: str) -> None:
    search = load(name)
    if search.model is None:
        assert SearchSpace(search).size > search.trials


def test_the_fingerprint_ignores_what_may_change_between_stop_and_resume(make_search: Any) -> None:
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


def test_larger_models_inherit_the_resources_of_smaller_ones(
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


HOSTILE = {
    "code": ("name: !!python/object/apply:os.system ['touch stolen']", "is not valid YAML"),
    "a key that is a list": ("? [a, b]\n: 1", "line 1: a key must be a text"),
    "a key that is a mapping": ("? {a: b}\n: 1", "line 1: a key must be a text"),
    "a number without end": ("name: x\ntrials: 0x" + "f" * 9000, "a number that is too long"),
    "a number in base 60": ("name: x\ntrials: " + ":".join(["59"] * 9000), "that is too long"),
    "too deep": ("name: " + "[" * 20_000, "is not valid YAML"),
    "contains itself": ("name: x\nspace: &s {depth: *s}", "space.depth.depth: is not a known key"),
    "too large": ("# " * 60_000, "larger than 100,000 bytes"),
    "a text that is no value": ("name: x\ntrials: " + "y" * 50_000, "trials: input should be"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_short_message(name: str, tmp_path: Path) -> None:
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


def test_aliases_that_expand_exponentially_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    (tmp_path / "search.yaml").write_text("\n".join([*lines, "space: {depth: {choices: *i}}"]))
    with pytest.raises(SearchFileError, match=r"space\.depth"):
        load(str(tmp_path / "search.yaml"))


def test_of_many_faults_the_first_are_reported(document: dict[str, Any]) -> None:
    with pytest.raises(SearchFileError) as refused:
        validate({**document, **{f"key{number}": 1 for number in range(5000)}})
    assert len(refused.value.faults) == 21
    assert refused.value.faults[-1] == "and 4,980 more faults"


def test_a_field_of_another_kind_of_source_is_refused_with_the_kinds_that_have_it() -> None:
    with pytest.raises(SearchFileError, match="where source is digits, but where it is image_fol"):
        load("images", ["data.images.train=photos"])
    aligned = "data.parallel={source: aligned_files, train: [a, b], text: en}"
    with pytest.raises(SearchFileError, match="but where it is files or hub; allowed: enc"):
        load("translation", [aligned])
    with pytest.raises(SearchFileError, match=r"data\.labelled\.train: has no value"):
        load("tsv", ["data.labelled.train="])
