"""Scores of a batch's tokens, micro-batch by micro-batch: what updates compare with."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from simplerl.core.types import Batch
from simplerl.models.score import Scorer
from simplerl.train.batch import Piece


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Log-probabilities of the batch's tokens, and where asked for the vocabulary's mean; both on the CPU."""

    logprobs_BT: torch.Tensor
    vocabulary_mean_BT: torch.Tensor | None


def score(
    scorer: Scorer, batch: Batch, mask_BT: torch.Tensor, piece: Piece, *, vocabulary_mean: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return (logprobs_BT, entropy_BT, vocabulary_mean_BT) of a micro-batch, on its device."""
    return scorer.score(
        piece.cut(batch.tokens_BT), piece.cut(mask_BT), batch.lengths_B[piece.rows], vocabulary_mean=vocabulary_mean
    )


@torch.no_grad()
def score_all(
    scorer: Scorer, batch: Batch, mask_BT: torch.Tensor, pieces: Iterable[Piece], *, vocabulary_mean: bool
) -> Scores:
    """Return the scores of the rows in the pieces, 0 elsewhere."""
    scorer.model.eval()
    logprobs_BT = torch.zeros(mask_BT.shape)
    mean_BT = torch.zeros(mask_BT.shape) if vocabulary_mean else None
    for piece in pieces:
        found_BT, _, found_mean_BT = score(scorer, batch, mask_BT, piece, vocabulary_mean=vocabulary_mean)
        logprobs_BT[piece.rows, : piece.width] = found_BT.cpu()
        if mean_BT is not None:
            mean_BT[piece.rows, : piece.width] = found_mean_BT.cpu()
    return Scores(logprobs_BT=logprobs_BT, vocabulary_mean_BT=mean_BT)
