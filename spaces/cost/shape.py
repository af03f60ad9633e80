"""The dimensions of the layers of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of the layers of a model, before or after pruning.

    Args:
        depth: Layers of the encoder, or of the only stack.
        decoder_depth: Layers of the decoder; 0 where there is none.
        width: Hidden size.
        heads: Attention heads per layer.
        head_width: Width of one attention head.
        feed_forward: Feed-forward neurons per layer.
    """

    depth: int
    decoder_depth: int
    width: int
    heads: int
    head_width: int
    feed_forward: int

    @property
    def attention(self) -> int:
        """Channels of all heads of a layer together."""
        return self.heads * self.head_width
