"""A text classifier that pools by the mean, as transformers has none with pre-norm layers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import RobertaPreLayerNormForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPoolingClassifier(RobertaPreLayerNormForSequenceClassification):  # type: ignore[misc]
    """transformers' pre-norm RoBERTa classifier, whose head reads the mean of all tokens.

    The original reads the start token, whose state masked language modelling never trains.
    """

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **arguments: Any,
    ) -> SequenceClassifierOutput:
        """Logits ``(batch, classes)`` of token ids ``(batch, sequence)``.

        Args:
            attention_mask: 1 for tokens and 0 for padding; without it, there is no padding.
            labels: Classes ``(batch,)``; with them, the loss is given too.
            arguments: Any other of the encoder's.
        """
        hidden = self.roberta_prelayernorm(
            input_ids, attention_mask=attention_mask, **arguments
        ).last_hidden_state
        if attention_mask is None:
            mean = hidden.mean(1)
        else:
            tokens = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * tokens).sum(1) / tokens.sum(1)
        # The head takes the first of a sequence of states.
        logits = self.classifier(mean.unsqueeze(1))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
