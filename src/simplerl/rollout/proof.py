"""Nothing is believed to have arrived until asked back: an engine proves that it uses the weights it was given.

Engines have trained for weeks on weights that never arrived (a head that was tied, a cache that was stale). After every
sync the log-probabilities of a fixed text are compared with the learner's own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from simplerl.core.errors import ModelError
from simplerl.models.load import Policy
from simplerl.models.score import text_logprobs
from simplerl.rollout.backend import RolloutBackend

TEXT = "What is 12+34-5? First 12+34=46, then 46-5=41. The answer is \\boxed{41}."
#: Precision of the engine → mean difference (nats a token, or a share of their mean size where that is above 1) that
#: rounding explains.
BOUNDS = {"fp32": 5e-4, "bf16": 0.1}
#: Nats a token by which a policy cannot move without that its engine moves by a bit, rounded as its weights may be.
MOVED = 1e-4


def text_ids(policy: Policy) -> list[int]:
    """Return the tokens of the text, as far as a model knows them."""
    known = [token for token in policy.tokenizer.encode(TEXT, add_special_tokens=False) if token < policy.embeddings]
    return known[: policy.context_length - 1]


@torch.no_grad()
def ask_back(
    backend: RolloutBackend,
    policy: Policy,
    precision: str,
    *,
    own: Callable[[Sequence[int]], np.ndarray] | None = None,
    before: dict[str, np.ndarray] | None = None,
) -> float:
    """Return how far an engine's log-probabilities of the text are from the policy's; nan where it cannot tell.

    `own` gives the policy's where its model is not in this process alone, or has gone on. `before` is what was said
    before, and is renewed: an update may be smaller than the rounding of bf16, but leaves no engine as it was.
    Raises ModelError where they are further apart than rounding explains, or the policy alone has moved.
    """
    ids = text_ids(policy)
    told = backend.logprobs(ids) if hasattr(backend, "logprobs") and len(ids) > 1 else None
    wanted = np.zeros(0) if told is None else own(ids) if own else text_logprobs(policy.model, ids)
    if told is None or not np.isfinite(wanted).all():  # A policy that has diverged is named when it samples.
        return float("nan")
    # Of several engines each says its own.
    gap, bound = float(np.abs(told - wanted).mean(-1).max()), BOUNDS[precision] * max(1.0, float(np.abs(wanted).mean()))
    moved = float(np.abs(wanted - before["own"]).mean()) if before else 0.0
    still = bool(before and (told == before["told"]).all(-1).any())
    if not gap <= bound or (still and moved > MOVED):
        why = f"differ from the learner's by {gap:.2g} nats a token, and rounding explains {bound:.2g}"
        if gap <= bound:
            why = f"are the same to the last bit while the learner's have moved by {moved:.2g} nats a token"
        raise ModelError(
            f"the rollout engine does not use the weights that it was given (version {backend.version}): its "
            f"log-probabilities of a fixed text {why}. Its responses would be those of another model. Resume from the "
            "last checkpoint; if it comes again, use --rollout.backend native and report it"
        )
    if before is not None and not still:
        before.update(own=wanted, told=told)
    return gap
