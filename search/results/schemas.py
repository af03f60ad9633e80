"""Query results, the same on the command line, over REST and in the client.

The client keeps unknown fields of a newer service.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from search.formatting import cost_summary, has_noisy_latency, measured_latency
from search.results.baselines import DenseModel, Edge, Reference
from search.results.query_result import QueryResult
from search.results.training_reuse import TrainingReuse
from search.seeds import SeedScores
from search.storage.states import SearchState
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import optional_costs
from spaces.cost.metric import text


class Summary(QueryResult):
    """A search in a line."""

    name: str
    """Name of the search, its study and its MLflow experiment."""
    state: SearchState
    """``lost``: its lease has expired; ``new``: it was never run; ``submitted``, ``starting`` and
    ``failed to start``: a service was asked to start it, and it has not run since."""
    trials: int
    """Trials after which it ends."""
    complete: int
    """Trials that have a result."""
    running: int
    """Trials and repeats that are running, or were when the search stopped."""
    failed: int
    """Trials that ended without a result."""
    objectives: list[str]
    """The metrics, and the inference costs that they are weighed against."""
    metric: str
    """``accuracy``, ``perplexity``, ``bleu``, …."""
    frontier: list[int]
    """Numbers of the trials on the frontier, the cheapest first."""
    hypervolume: float
    """Fraction of the box that the frontier dominates, 0 to 1."""
    best_score: float | None
    """The best score within the constraints."""
    repeats: int = 0
    """Complete repeats of its trials with further seeds of training."""


class Failure(QueryResult):
    """A trial that ended without a result."""

    trial: int
    state: str
    """Name of its failure."""
    message: str


class Search(Summary):
    """A search with its file, its data and its failures."""

    search: dict[str, Any]
    """The search file; URLs without their passwords."""
    data: dict[str, Any]
    """Fingerprint and counts of the data; empty before the first run."""
    ended: str
    """Why its last run ended, or why it failed to start; empty while it runs."""
    shared: TrainingReuse
    gpu_hours: float = 0.0
    """GPU-hours of its finished trials and repeats, failed ones too."""
    failures: list[Failure]


_SCORE = ("metric", "score", "score_low", "score_high")
_MEASURED = (*_SCORE, "size_mb", "latency_ms", "flops", "compression_ratio")
"""Fields that a frontier member copies from the result of its trial."""


class FrontierMember(QueryResult):
    """A trial that no other dominates in score and cost."""

    trial: int
    checkpoint: str = ""
    """The one that it starts from, of several; empty otherwise."""
    depth: int
    """Layers, of the encoder where there is a decoder too."""
    decoder_depth: int
    width: int
    """Hidden size; of a checkpoint, the channels of the heads of a layer that are kept."""
    head_width: int = 0
    """Channels of an attention head."""
    feed_forward: int = 0
    """Feed-forward neurons of a layer."""
    activation: str = ""
    tied_embeddings: bool = True
    vocabulary: int = 0
    """Pieces that are kept of a checkpoint's vocabulary; 0 where all are."""
    budget: float
    """Training, in the unit of the search."""
    training: dict[str, float] = Field(default={})
    """Values of the fields of ``training`` that are searched, by name."""
    compression: str
    """Quantisation, pruning and recovery."""
    metric: str
    score: float
    """On validation, with its 95 % interval."""
    score_low: float
    score_high: float
    further_scores: dict[str, float] = Field(default={})
    """Of further metrics that are objectives, by name."""
    test_score: float | None
    """On test, which is read once, at the end of the search."""
    seeds: SeedScores | None = None
    """Scores over several seeds of training; null where there is one."""
    size_mb: float
    """Megabytes (10^6 bytes) on disk."""
    latency_ms: float
    """Milliseconds, corrected for a slowed machine: what constraints and the frontier use."""
    latency_p10_ms: float
    """The measured 10th percentile."""
    latency_noisy: bool = False
    """Whether other programs disturbed its measurement."""
    flops: float
    """Forward FLOPs for one sequence."""
    measured_costs: dict[str, float] = Field(default={})
    """Costs that only some searches have, by name: ``token_ms``, …."""
    compression_ratio: float
    """Dense fp32 bytes / compressed bytes."""
    dominated_by: str | None = None
    """The reference that has no more bytes and no worse score; null if there is none."""
    dense: DenseModel | None = None
    """The best model without compression in at most the same bytes; null if none fits."""

    @classmethod
    def of(
        cls, record: TrialRecord, test: Mapping[str, Any], seeds: SeedScores | None
    ) -> FrontierMember:
        """The member of a complete trial; its result on test is empty if test was not read."""
        result, architecture = record.result, record.configuration.architecture
        return cls(
            trial=record.number,
            # Those that are named as in the architecture.
            **{n: getattr(architecture, n) for n in cls.model_fields if hasattr(architecture, n)},
            budget=record.configuration.budget,
            training=dict(record.configuration.training),
            compression=str(record.configuration.compression),
            further_scores={n: e["value"] for n, e in result.get("further_scores", {}).items()},
            measured_costs={n: result[n] for n in optional_costs(result)},
            test_score=test.get("score"),
            latency_p10_ms=measured_latency(result),
            seeds=seeds,
            latency_noisy=has_noisy_latency(result),
            **{name: result[name] for name in _MEASURED},
        )


class Frontier(QueryResult):
    """The frontier of a search, and what it is compared with."""

    members: list[FrontierMember]
    """Trials that no other dominates, the cheapest first."""
    references: list[Reference]
    """Baselines of the task, the smallest first; empty until they are measured."""
    edges: list[Edge]
    """Ends of dimensions at which all members lie."""
    advice: str | None = None
    """What to do where a reference is at least as good as every member; null where none is."""


class Trial(QueryResult):
    """One trial of a search."""

    trial: int
    state: str
    """``running``, ``complete``, or the name of its failure."""
    text: str
    """Its configuration as text."""
    configuration: dict[str, Any]
    """Architecture, budget, compression, seed, and what of ``training`` is searched."""
    result: dict[str, Any]
    """Score, costs and how they were measured; empty unless complete."""
    latency_noisy: bool = False
    """Whether other programs disturbed the measurement of its latency."""
    test: dict[str, Any]
    """Result on the test split; empty if it was not read."""
    on_frontier: bool
    """Whether no other trial dominates it."""
    repeats: int | None = None
    """The trial whose configuration it repeats with a further seed of training."""
    seeds: SeedScores | None = None
    """Scores over several seeds of training; null where there is one."""
    started: datetime | None
    """When it was created (UTC)."""
    finished: datetime | None
    """When it finished (UTC)."""
    message: str
    """The error message, if it failed."""
    budget_unit: str
    """``steps``, ``tokens`` or ``flops``."""


class TrialDetails(Trial):
    """One trial with its training curve."""

    curve: list[list[float]]
    """``[step, training loss]`` over its training."""
    traceback: str
    """Where an error inside tlc or a library arose, if it failed by one; else empty."""


class TrialPage(QueryResult):
    """A page of trials."""

    total: int
    """Trials that match."""
    offset: int
    """Matching trials before this page."""
    trials: list[Trial]


class Best(QueryResult):
    """The best model within limits, or the nearest to them."""

    limits: dict[str, float]
    """Highest value by cost: ``size_mb``, ``latency_ms``, ``flops``, ``token_ms``, …."""
    is_within: bool
    """Whether the model meets the limits."""
    misses: dict[str, float]
    """Factor by which it exceeds each limit that it breaks."""
    trial: Trial | None
    """The model's trial; null when the search has no complete one."""
    location: str
    """Where the compressed model is."""
    cost: str
    """The inference cost of the search."""
    references: list[Reference] = Field(default_factory=list)
    """Baselines of the task within the limit of bytes, the smallest first."""
    dominated_by: Reference | None = None
    """The best of them, where no model within the limits has a better score."""
    dense: DenseModel | None = None
    """The best model without compression within the limit of bytes, or, without a limit, in the
    bytes of the best model; null if none fits."""
    edges: list[Edge] = Field(default_factory=list)
    """Ends of dimensions at which the model lies."""
    advice: str | None = None
    """What to do where ``dominated_by`` is not null."""

    def __repr__(self) -> str:
        trial = self.trial
        if trial is None:
            return "<no complete trial>"
        result, metric = trial.result, trial.result["metric"]
        low, score, high = (
            text(metric, result[name]) for name in ("score_low", "score", "score_high")
        )
        costs = cost_summary(result, self.cost)
        return f"<#{trial.trial} {trial.text}: {metric} {score} ({low}–{high}), {costs}>"


class Level(QueryResult):
    """The best at one fixed inference cost."""

    cost: str
    """``size_mb``, ``latency_ms``, ``flops``, ``token_ms``, …."""
    limit: float
    trial: int | None
    """Number of the best trial within the limit; null if there is none."""
    text: str
    """Its configuration as text."""
    metric: str
    score: float | None
    """On validation, with its 95 % interval."""
    score_low: float | None
    score_high: float | None


class Prediction(QueryResult):
    """The surrogate's prediction for a configuration, trained or not."""

    text: str
    """The configuration as text."""
    configuration: dict[str, Any]
    """Architecture, budget, compression and seed."""
    metric: str
    score: float
    """The expected score on validation, with its 95 % interval."""
    score_low: float
    score_high: float
    size_mb: float
    """Megabytes (10^6 bytes) on disk, computed."""
    flops: float
    """Forward FLOPs for one sequence, computed."""
    is_feasible: bool
    """Whether the known costs meet the search's constraints."""
    seconds: float
    """Seconds that a trial of it would take now."""
    trials: int
    """Complete trials that the surrogate was fitted to."""
    trial: int | None
    """The trial that evaluated it; null if none did."""


class Started(QueryResult):
    """A search that was submitted or resumed, and is then started."""

    name: str
    state: SearchState = "submitted"


class Event(QueryResult):
    """Something that happened in a search."""

    kind: Literal["trial", "state"]
    """``trial``: one started or finished; ``state``: the search started, stopped or ended."""
    search: str
    state: str
    """State of the trial, or of the search."""
    trial: int | None = None
    text: str = ""
    """Its configuration as text; of a search, why it failed to start."""
    score: float | None = None
    """Its score on validation."""
    complete: int = Field(default=0, ge=0)
    """Complete trials at that time."""
    hypervolume: float | None = None
