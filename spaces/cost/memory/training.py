"""Peak memory of training, by arithmetic: what a step of AdamW holds at its largest.

Activations are what torch keeps for the backward pass of transformers' layers, which
``benchmarks/training_memory.py`` compares with the peak of real processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from spaces.cost.architecture import Architecture
from spaces.cost.families import layout
from spaces.cost.layout import VOCABULARY, WIDTH, Layout, Reads, Stack
from spaces.cost.units import Precision
from spaces.cost.workload import Family, Workload, masked_tokens

MAX_LOGITS = 2**26
"""Logits over a vocabulary that training computes at once: 256 MiB in fp32."""
CHUNK_LOGITS = 2**24
"""Logits of a chunk, where there are more."""
LOGIT_BYTES = 12
"""Of a logit in the backward pass: its logarithm, and the gradients of both."""

CPU_PROCESS_BYTES = 420_000_000
"""A process that has imported torch, transformers and tlc."""
CPU_FRAGMENTATION = 0.2
"""Part of activations and logits that the allocator of a CPU holds beside them: their parts that
are freed at once, and holes between what is kept. It does not give freed activations to gradients.
"""
GPU_PROCESS_BYTES = 800_000_000
"""On a GPU: CUDA's context and the workspaces of its libraries; an estimate."""
MAX_PLAIN_POSITIONS = 258
"""Positions of a model (256 tokens and the two that RoBERTa never reads) up to which matrix
products beat the fused kernel in bf16 on a CPU; beyond, they would also keep ``tokens ** 2`` scores
for the backward pass."""

GATED_WIDTH_BYTES = {
    Family.LLAMA: {"fp32": 40, "bf16": 34},
    Family.MODERNBERT_MASKED_LM: {"fp32": 40, "bf16": 20},
}
"""Of a token and a channel of the residual stream in a layer whose feed-forward block is gated."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes that one worker holds at its peak.

    Args:
        weights: The model in fp32; its shard, where it is sharded.
        gradients: Those of its weights.
        optimizer: The two moments of AdamW.
        activations: What the forward pass keeps for the backward pass.
        logits: Those that are in memory at once, and the gradient of the matrix that gives them.
        process: All else of the process.
        fragmentation: What the allocator holds beside what is in use.
        are_together: Whether gradients are in memory together with all activations: those of a
            batch that is computed in parts, and any on a CPU.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    process: int
    fragmentation: int = 0
    are_together: bool = True

    @property
    def total(self) -> int:
        """The peak."""
        step = self.activations + self.logits
        # Else one grows as the other is freed.
        both = self.gradients + step if self.are_together else max(self.gradients, step)
        return self.process + self.weights + self.optimizer + self.fragmentation + both


def training_memory(
    architecture: Architecture,
    workload: Workload,
    *,
    batch_size: int,
    precision: Precision = "fp32",
    on_gpu: bool = False,
    workers: int = 1,
    sharded: bool = False,
    micro_batches: int = 1,
    checkpointed: bool = False,
    dropout: float = 0.0,
    passes: int = 1,
) -> TrainingMemory:
    """Memory of a worker that trains a model on sequences of full length.

    Args:
        architecture: The model.
        workload: What it reads and predicts.
        batch_size: Sequences of a step of all workers together.
        precision: Of the forward and backward pass; weights are fp32.
        on_gpu: Whether the worker computes on a GPU; the bytes are then those of its memory.
        workers: Workers, each with its part of the batch.
        sharded: Whether they share the weights (FSDP), and not the batch alone (DDP).
        micro_batches: Parts of a worker's batch that are computed one after another.
        checkpointed: Whether layers are computed again in the backward pass, which keeps only what
            enters them.
        dropout: Dropout of the model.
        passes: Forward passes over a batch in each step.
    """
    laid_out = layout(architecture.shape, workload)
    rows = -(-batch_size // (workers * micro_batches)) * passes
    shards = workers if sharded else 1
    weights = 4 * laid_out.parameters // shards
    # DDP sends gradients from buffers of its own.
    copies = 2 if workers > 1 and not sharded else 1
    step = _Step(laid_out, workload, rows, precision, on_gpu=on_gpu, has_dropout=dropout > 0.0)
    activations, logits = step.activations(checkpointed=checkpointed), step.logits()
    return TrainingMemory(
        weights=weights,
        gradients=copies * weights,
        optimizer=2 * weights,
        activations=activations,
        logits=logits,
        process=GPU_PROCESS_BYTES if on_gpu else CPU_PROCESS_BYTES,
        fragmentation=0 if on_gpu else round(CPU_FRAGMENTATION * (activations + logits)),
        are_together=micro_batches > 1 or not on_gpu,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """The forward and backward pass of some sequences."""

    laid_out: Layout
    workload: Workload
    rows: int
    precision: Precision
    on_gpu: bool
    has_dropout: bool

    @property
    def _element_bytes(self) -> int:
        return 2 if self.precision == "bf16" else 4

    @property
    def _lengths(self) -> tuple[int, int]:
        """Tokens that are read, and that a decoder writes."""
        read = self.workload.sequence_length
        return read, self.workload.target_length or read

    def activations(self, *, checkpointed: bool) -> int:
        lengths = self._lengths
        width = self.laid_out.sizes[WIDTH]
        stacks = list(zip(self.laid_out.stacks, lengths, strict=False))
        layers = [self._layer_bytes(stack, tokens) for stack, tokens in stacks]
        if checkpointed:
            entering = sum(4 * width * tokens * stack.depth for stack, tokens in stacks)
            kept = entering + max(layers)
        else:
            kept = sum(
                layer * stack.depth for layer, (stack, _) in zip(layers, stacks, strict=True)
            )
        # What enters the first layer, and what leaves the last one.
        kept += sum(5 * 4 * width * tokens for _, tokens in stacks)
        # Autocast keeps its copies of matrices until the end of a step.
        products = [w for w in self.laid_out.weights() if w.reads is not Reads.NOTHING]
        copies = 2 * sum(w.count for w in products) if self.precision == "bf16" else 0
        return self.rows * kept + copies

    def _layer_bytes(self, stack: Stack, tokens: int) -> int:
        """Of one layer and one sequence."""
        width, element = self.laid_out.sizes[WIDTH], self._element_bytes
        is_gated = stack.feed_forward.fused * len(stack.feed_forward.inputs) > 1
        attentions = len(stack.attentions)
        if is_gated:
            of_family = GATED_WIDTH_BYTES.get(self.workload.family.pretrained)
            channels = (of_family or GATED_WIDTH_BYTES[Family.LLAMA])[self.precision]
            channels += 24 * (attentions - 1)
        else:
            channels = (24 if element == 4 else 18) * attentions + 2 * element
        neurons = (4 if is_gated else 2) * element
        if self.has_dropout:
            channels += element * (attentions + 1)
        pairs = tokens**2 + (attentions - 1) * tokens * self._lengths[0]
        per_token = channels * max(width, stack.heads * stack.head_width) + neurons * stack.neurons
        return tokens * per_token + self._pair_bytes(tokens) * stack.heads * pairs

    def _pair_bytes(self, tokens: int) -> int:
        """Of a pair of tokens and a head: kernels that keep no scores have no dropout on a CPU."""
        if self.on_gpu:
            return 0
        is_plain = self.precision == "bf16" and tokens <= MAX_PLAIN_POSITIONS
        if not self.has_dropout:
            return 2 if is_plain else 0
        return 6 if is_plain else 12

    def logits(self) -> int:
        """Of the logits that are in memory at once."""
        workload = self.workload
        vocabulary = self.laid_out.sizes.get(VOCABULARY, 0)
        if workload.classes or not vocabulary:
            return LOGIT_BYTES * self.rows * max(1, workload.classes)
        read, written = self._lengths
        each = written if len(self.laid_out.stacks) > 1 else read
        if workload.family.is_masked_lm:
            each = masked_tokens(read)
        count = self.rows * each * vocabulary
        in_memory = count if count <= MAX_LOGITS else CHUNK_LOGITS
        return LOGIT_BYTES * in_memory + 4 * vocabulary * self.laid_out.sizes[WIDTH]
