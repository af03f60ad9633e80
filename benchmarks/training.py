"""Training throughput: tlc beside Hugging Face ``Trainer`` and a bare PyTorch loop.

All three train the same models from the same weights, with the same optimiser and schedule, in
one process on one thread. They take turns, a round of steps each; the ratios are medians over the
rounds, of wall time. In pre-training they read the same batches: tlc and the bare loop compute
logits at masked positions only, ``Trainer`` uses the model's own loss. In fine-tuning, on texts
of different lengths, tlc and the bare loop read tlc's batches and ``Trainer`` pads as it does by
default. ``Trainer`` is measured in fp32 and in bf16, and the faster of the two counts. The bare
loop has tlc's precision. Both use ``scaled_dot_product_attention``. Tokens are counted without
padding.

    python benchmarks/training.py [--rounds 13]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from objectives.data.batches import Batch, BucketedBatches, MaskedBatches, labelled_text_batch
from objectives.data.encoding import END, PAD
from objectives.data.prepare import prepare
from objectives.data.prepared_data import LabelledTexts, PreparedData
from objectives.device import fastest_precision
from objectives.models.parametrisation import WeightScale, weight_scales
from objectives.tasks import make_task
from objectives.training.loop import train
from objectives.training.optimizer import (
    OptimizerSettings,
    WarmupStable,
    make_optimizer,
)
from objectives.training.path import TrainingProgress
from objectives.training.replica import Replica
from spaces.cost.architecture import Architecture
from spaces.file.search_file import SearchFile
from spaces.loading import load

SHAPES = {  # depth, width, batch
    "pre-training": [
        (1, 32, 16),
        (1, 64, 64),
        (2, 64, 16),
        (3, 128, 16),
        (2, 128, 64),
        (4, 256, 16),
    ],
    "fine-tuning": [(1, 32, 16), (2, 64, 16), (3, 128, 16), (4, 256, 16)],
}
STEPS = 10
"""Steps of a round."""

MEAN_LENGTH = 20
"""Tokens of a fine-tuning text, as in SST-2."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Contestant:
    """A model in training: its clock and its losses.

    Args:
        model: The model.
        optimizer: Its optimiser.
        precision: Of its forward and backward pass.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    precision: str
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)

    def start(self) -> None:
        """Start a round."""
        self.tokens.append(0)
        self.seconds.append(-now())

    def stop(self) -> None:
        """End a round."""
        self.seconds[-1] += now()

    def rates(self) -> list[float]:
        """Tokens a second of each round but the first, which warms up."""
        return [t / s for t, s in zip(self.tokens[1:], self.seconds[1:], strict=True)]

    def loss_in(self, round_: int) -> float:
        first = round_ * STEPS
        return statistics.mean(float(loss) for loss in self.losses[first : first + STEPS])


@dataclass
class Race:
    """What the contestants have in common.

    Args:
        build: The untrained model.
        scales: What its settings are multiplied by.
        batches: tlc's batches.
        loss: tlc's loss.
        settings: tlc's optimizer settings.
        rows: What ``Trainer`` reads.
        collate: How it makes batches of them.
        trainer_batch: Rows in its batch.
    """

    build: Callable[[], nn.Module]
    scales: Mapping[str, WeightScale]
    batches: Callable[[int], Batch]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    settings: OptimizerSettings
    rows: torch.utils.data.Dataset[Any]
    collate: Callable[[list[Any]], dict[str, Any]]
    trainer_batch: int

    def contestant(self, precision: str) -> Contestant:
        torch.manual_seed(0)
        model = self.build().to(DEVICE).train()
        return Contestant(model, make_optimizer(model, self.scales, self.settings), precision)

    def run(self, rounds: int) -> dict[str, Contestant]:
        """Train the three with ``Trainer`` in each precision; return those of its faster one."""
        self._warm_up(rounds)
        results = [self._run(rounds, precision) for precision in ("fp32", "bf16")]
        return max(results, key=lambda three: statistics.median(three["Trainer"].rates()))

    def _run(self, rounds: int, trainer_precision: str) -> dict[str, Contestant]:
        ours, bare = (self.contestant(self.settings.precision) for _ in range(2))
        theirs = self.contestant(trainer_precision)
        progress = TrainingProgress()
        turns = [lambda: self._ours(ours, progress), lambda: self._bare(bare)]
        run_trainer(self, theirs, turns, rounds)
        return {"tlc": ours, "Trainer": theirs, "bare": bare}

    def _warm_up(self, rounds: int) -> None:
        """Let oneDNN compile its kernels, a set for each length of batch, which all three share."""
        ours, bare = (self.contestant(self.settings.precision) for _ in range(2))
        progress = TrainingProgress()
        for _ in range(rounds if self.trainer_batch > 1 else 1):
            self._ours(ours, progress)
            self._bare(bare)

    def _ours(self, one: Contestant, progress: TrainingProgress) -> None:
        def loss_at(model: nn.Module, step: int, *_: object) -> torch.Tensor:
            batch = self.batches(step)
            one.tokens[-1] += real_tokens(batch)
            loss = self.loss(model, batch)
            one.losses.append(loss.detach())
            return loss

        one.start()
        train(
            Replica(one.model, one.optimizer, loss_at, self.settings, seed=0),
            progress,
            to_step=progress.step + STEPS,
            steps_at_once=STEPS,
            name="benchmark",
            checkpoint_seconds=lambda: 1e9,
            checkpoint=lambda _: None,
        )
        one.stop()

    def _bare(self, one: Contestant) -> None:
        one.start()
        first = len(one.losses)
        for step in range(first, first + STEPS):
            for group in one.optimizer.param_groups:
                group["lr"] = group["peak"] * self.settings.schedule(step)
            batch = self.batches(step)
            one.tokens[-1] += real_tokens(batch)
            with torch.autocast(DEVICE.type, torch.bfloat16, one.precision == "bf16"):
                loss = self.loss(one.model, batch)
            one.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(one.model.parameters(), self.settings.gradient_clip)
            one.optimizer.step()
            one.losses.append(loss.detach())
        one.stop()


def real_tokens(batch: dict[str, Any]) -> int:
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


def now() -> float:
    """Seconds of wall time, after all work on the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def run_trainer(race: Race, one: Contestant, turns: list[Callable[[], None]], rounds: int) -> None:
    """Train with ``Trainer``; after each of its rounds, the others have theirs."""

    class Recording(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            one.tokens[-1] += real_tokens(inputs)
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            one.losses.append(loss.detach())
            return loss

    class Turns(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            one.start()

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step % STEPS == 0:
                one.stop()
                for turn in turns:
                    turn()
                turns.reverse()
                one.start()

    for group in one.optimizer.param_groups:
        group["lr"] = group["peak"]
    schedule = torch.optim.lr_scheduler.LambdaLR(one.optimizer, race.settings.schedule)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=race.trainer_batch,
            max_steps=rounds * STEPS,
            bf16=one.precision == "bf16",
            max_grad_norm=race.settings.gradient_clip,
            use_cpu=DEVICE.type == "cpu",
            train_sampling_strategy="sequential" if race.trainer_batch == 1 else "random",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Recording(
            one.model,
            arguments,
            race.collate,
            race.rows,
            optimizers=(one.optimizer, schedule),
            callbacks=[Turns()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    # The round that its last step began.
    one.tokens.pop()
    one.seconds.pop()


class Ready(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """tlc's masked batches with the labels that transformers' models expect."""

    def __init__(self, batches: MaskedBatches, steps: int) -> None:
        self._batches, self._steps = batches, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        batch = self._batches(step)
        labels = torch.full_like(batch["input_ids"], -100)
        labels.view(-1)[batch["positions"]] = batch["targets"]
        return {"input_ids": batch["input_ids"], "labels": labels}


class Texts(torch.utils.data.Dataset[dict[str, Any]]):
    """Labelled texts, without padding."""

    def __init__(self, examples: LabelledTexts) -> None:
        self._rows = [
            {"input_ids": tokens[:length].tolist(), "labels": int(label)}
            for tokens, length, label in zip(
                examples.tokens, examples.lengths, examples.labels, strict=True
            )
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self._rows[row]


def shortened(examples: LabelledTexts) -> LabelledTexts:
    """The examples cut to lengths as short sentences have them: log-normal."""
    drawn = np.random.default_rng(0).lognormal(np.log(MEAN_LENGTH), 0.5, len(examples.lengths))
    lengths = np.minimum(np.maximum(drawn.astype(np.int32), 4), examples.lengths)
    tokens = np.array(examples.tokens)
    tokens[np.arange(tokens.shape[1]) >= lengths[:, None]] = PAD
    tokens[np.arange(len(tokens)), lengths - 1] = END
    return replace(examples, tokens=tokens, lengths=lengths)


def races(
    search: SearchFile, data: PreparedData, rounds: int
) -> Iterator[tuple[str, Callable[[], Race]]]:
    examples = shortened(data.labelled_texts("train"))
    for stage, shapes in SHAPES.items():
        for depth, width, batch in shapes:
            shape = Architecture.of(depth, width)
            settings = OptimizerSettings(
                peak=search.training.learning_rate,
                schedule=WarmupStable(20),
                weight_decay=search.training.weight_decay,
                gradient_clip=search.training.gradient_clip,
                precision=fastest_precision(),
            )
            name = f"{stage} {shape}, batch {batch}, {settings.precision}"
            if stage == "pre-training":
                yield name, masked_race(search, data, shape, batch, settings, rounds)
            else:
                yield name, labelled_race(search, data, examples, shape, batch, settings)


def masked_race(
    search: SearchFile,
    data: PreparedData,
    shape: Architecture,
    batch_size: int,
    settings: OptimizerSettings,
    rounds: int,
) -> Callable[[], Race]:
    pretraining = make_task(search, data).pretraining
    batches = MaskedBatches(
        data.token_stream("train"),
        search.data.sequence_length,
        batch_size,
        search.data.vocabulary_size,
        search.seed,
    )
    return lambda: Race(
        build=lambda: pretraining.build(shape.shape),
        scales=weight_scales(shape.shape, pretraining.workload),
        batches=batches,
        loss=pretraining.loss,
        settings=settings,
        rows=Ready(batches, rounds * STEPS),
        collate=lambda rows: dict(rows[0]),
        trainer_batch=1,
    )


def labelled_race(
    search: SearchFile,
    data: PreparedData,
    examples: LabelledTexts,
    shape: Architecture,
    batch_size: int,
    settings: OptimizerSettings,
) -> Callable[[], Race]:
    task = make_task(search, data)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(data.tokenizer_file))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD)
    return lambda: Race(
        build=lambda: task.build(shape.shape),
        scales=weight_scales(shape.shape, task.workload),
        batches=BucketedBatches(labelled_text_batch, examples, batch_size, search.seed),
        loss=task.loss,
        settings=settings,
        rows=Texts(examples),
        collate=DataCollatorWithPadding(tokenizer),
        trainer_batch=batch_size,
    )


def keep_memory() -> None:
    """Keep freed memory in the process, where the C library is glibc.

    Otherwise each step may return large tensors to the system and page them in again, depending on
    the layout of the heap: ``Trainer`` took up to four times as long in one run as in the next.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def ratio(ours: Contestant, other: Contestant) -> str:
    each = [a / b for a, b in zip(ours.rates(), other.rates(), strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=13)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_memory()
    search = load("classification")
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(search.data, search.task, Path(folder))
        print(f"{'':54}    tokens/s                   ratio (min-max over rounds)          loss")
        print(
            f"{'':54}{'tlc':>8}{'Trainer':>9}{'bare':>8}"
            f"  {'tlc / Trainer':18}{'tlc / bare':18}start, middle, end (tlc | Trainer | bare)"
        )
        for name, make in races(search, data, rounds):
            three = make().run(rounds)
            rates = [statistics.median(one.rates()) for one in three.values()]
            name = f"{name} (Trainer {three['Trainer'].precision})"
            at = (0, rounds // 2, rounds - 1)
            losses = (", ".join(f"{o.loss_in(r):.3f}" for r in at) for o in three.values())
            print(
                f"{name:54}{rates[0]:8.0f}{rates[1]:9.0f}{rates[2]:8.0f}"
                f"  {ratio(three['tlc'], three['Trainer']):18}"
                f"{ratio(three['tlc'], three['bare']):18}{' | '.join(losses)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
