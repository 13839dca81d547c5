"""Every algorithm against a plain second implementation, token by token in loops, through a whole learner.

Two steps of two updates each, on a batch that has everything that can go wrong: holes in the loss mask, undecided
and truncated responses, a group of equal rewards, one of which a single member is left, one of which none is. The
gradients of every update must agree: credit, ratio, mask, normaliser, KL, entropy, correction, critic and the adaptive
coefficient at once.
"""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import CORRECT, TIMED_OUT, WRONG, group, trajectory

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.types import Batch
from simplerl.models.load import Policy
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner

TEMPERATURE = 0.7
OPTIMIZER = {"lr": 0.05, "betas": (0.9, 0.999), "eps": 1.0, "weight_decay": 0.0}
CRITIC_LR = 0.03  # Not the policy's: a critic that learned at that one would be noticed.

CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in ALGORITHMS} | {
    "grpo k3 and entropy": ("grpo", {"kl_coef": 0.3, "entropy_coef": 0.1}),
    "grpo k2, by sequence": ("grpo", {"kl_coef": 0.3, "kl_estimator": "k2", "normaliser": "sequence"}),
    "grpo k2, by prompt": ("grpo", {"kl_coef": 0.3, "kl_estimator": "k2", "normaliser": "prompt"}),
    "grpo without truncated": ("grpo", {"mask_truncated": True, "normaliser": "sequence"}),
    "grpo by batch": ("grpo", {"scale": "batch"}),
    "grpo adaptive": ("grpo", {"kl_coef": 0.3, "kl_target": 1e-3, "kl_horizon": 20}),
    "grpo truncated correction": ("grpo", {"correction": "truncated", "correction_high": 1.3, "entropy_coef": 0.1}),
    "grpo token mask": ("grpo", {"correction": "token-mask", "kl_coef": 0.3}),
    "grpo sequence mask": ("grpo", {"correction": "sequence-mask", "correction_low": 0.8, "correction_high": 1.2}),
    "rloo corrected": ("rloo", {"correction": "truncated"}),
    "reinforce_pp discounted": ("reinforce_pp", {"gamma": 0.9, "kl_reward_coef": 0.5, "kl_estimator": "k3"}),
    "reinforce_pp adaptive": ("reinforce_pp", {"kl_reward_coef": 0.5, "kl_target": 0.5, "kl_horizon": 30}),
    "reinforce_pp without truncated": ("reinforce_pp", {"mask_truncated": True}),
    "baseline with more KL": ("reinforce_pp_baseline", {"kl_coef": 0.5}),
    "gspo wide": ("gspo", {"clip_low": 0.02, "clip_high": 0.03}),
    "gspo by token": ("gspo", {"clip_low": 0.02, "clip_high": 0.03, "normaliser": "token"}),
    "cispo low cap": ("cispo", {"ratio_cap": 1.02, "scale": "batch"}),
    "dppo close": ("dppo", {"delta_low": 0.003, "delta_high": 0.001, "scale": "batch"}),
    "cispo as in ScaleRL": ("cispo", {"scale": "batch", "normaliser": "prompt", "exclude_equal": True}),
    "rec none": ("rec", {"mask_mode": "none", "weight_mode": "ratio"}),
    "rec two-side exp": ("rec", {"mask_mode": "two-side", "weight_mode": "exp", "weight_temperature": 0.5}),
    "rec ring": (
        "rec",
        {"mask_mode": "ring", "ring_low": 0.1, "ring_high": 0.1, "clip_low": 0.02, "clip_high": 0.02},
    ),
    "rec uneven": ("rec", {"clip_low": 0.01, "clip_high": 0.05}),
    "rec two-side uneven": ("rec", {"mask_mode": "two-side", "clip_low": 0.05, "clip_high": 0.01}),
    "rec k2": ("rec", {"regulariser": "k2", "tau": 0.4, "clip_low": 0.02, "clip_high": 0.02}),
    "rec forward-kl": ("rec", {"regulariser": "forward-kl", "tau": 0.4, "weight_mode": "ratio"}),
    "asymre more": ("asymre", {"baseline_shift": -0.4}),
    "opmd soft": ("opmd", {"baseline": "soft-maximum", "tau": 0.3}),
    "rover scaled": ("rover", {"value_scale": 0.5, "entropy_coef": 0.1}),
    "pass_at_k of one": ("pass_at_k", {"k": 1}),
    "entrocraft below": ("entrocraft", {"lower_start": 9, "lower_end": 9, "upper_start": 9.5, "upper_end": 9.5}),
    "entrocraft between, then above": (
        "entrocraft",
        {"lower_start": 0, "lower_end": 0, "upper_start": 9, "upper_end": 0, "bound_steps": 2},
    ),
    "distill": ("distill", {"teacher_temperature": 0.5, "rl_coef": 0.7, "entropy_coef": 0.1}),
    "distill alone": ("distill", {"teacher_temperature": 2.0, "kl_coef": 0.5, "normaliser": "sequence"}),
    "entropic near": ("entropic", {"entropy_target": 2.4, "integral_rate": 0.5}),
    "ppo KL in the loss": ("ppo", {"kl_reward_coef": 0.0, "kl_coef": 0.3, "kl_estimator": "k3"}),
    "ppo adaptive": ("ppo", {"kl_reward_coef": 0.4, "kl_target": 0.02, "kl_horizon": 30, "gamma": 0.9, "lam": 0.5}),
    "ppo without truncated": ("ppo", {"mask_truncated": True, "normaliser": "sequence", "value_clip": 0.0}),
    "ppo low reward clip": ("ppo", {"reward_clip": 0.4, "value_clip": 0.01}),
}


def make_batch(vocabulary: int = 64, seed: int = 0) -> Batch:
    """Return seven problems of four ragged responses with every complication."""
    draw = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    groups = []
    for p in range(7):
        prompt = [number(2, vocabulary) for _ in range(number(1, 6))]
        members = []
        for sample in range(4):
            length = number(2, 11)
            mask = [number(0, 4) > 0 for _ in range(length)]
            mask[number(0, length)] = True
            verdict = CORRECT if number(0, 2) else WRONG
            if p == 1:  # All alike.
                verdict = CORRECT
            undecided = p == 4 or (p == 3 and sample > 0) or (p == 2 and sample == 1)
            members.append(
                trajectory(
                    prompt=prompt,
                    response=[number(2, vocabulary) for _ in range(length)],
                    mask=mask,
                    logprobs=(-3 - 2 * torch.rand(length, generator=draw)).tolist(),
                    verdict=TIMED_OUT if undecided else verdict,
                    reward=None if undecided or p < 5 else [-0.2, -0.1, 1.0, 0.6][number(0, 4)],
                    stop_reason="length" if length > 7 else "eos",
                )
            )
        groups.append(group(*members, id=f"p{p}"))
    return build_batch(groups)


def sampled_nearby(batch: Batch, model: Any, seed: int) -> Batch:
    """Return the batch as if a sampler that is about the model had drawn it."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        logprobs_BT = all_logprobs(model, batch.tokens_BT).gather(-1, batch.tokens_BT[..., None]).squeeze(-1)
    noise_BT = 0.5 * torch.randn(logprobs_BT.shape, generator=draw)
    return dataclasses.replace(batch, sampler_logprobs_BT=(logprobs_BT + noise_BT) * batch.mask_BT)


# -- the second implementation ---------------------------------------------------------------------------------------


def all_logprobs(model: Any, tokens_BT: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """Return log π over the vocabulary at each token's place, [B, T, V], at a share of the temperature."""
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits.float() / (TEMPERATURE * share)
    moved_BTV = torch.zeros_like(logits_BTV)
    moved_BTV[:, 1:] = logits_BTV[:, :-1].log_softmax(-1)
    return moved_BTV


def kept_places(algorithm: Any, batch: Batch) -> list[list[int]]:
    """Return the columns of each response that take part."""
    found = []
    for row in range(len(batch.tokens_BT)):
        out = not batch.included_B[row] or (algorithm.mask_truncated and batch.truncated_B[row])
        same = batch.included_B & (batch.group_B == batch.group_B[row])
        out |= algorithm.exclude_equal and int(same.sum()) > 1 and len(set(batch.rewards_B[same].tolist())) == 1
        found.append([] if out else batch.mask_BT[row].nonzero().flatten().tolist())
    return found


def estimate(name: str, logprob: Any, reference: Any) -> Any:
    """Return a KL estimate of a token, of floats or of tensors."""
    d = reference - logprob
    if name == "k3":
        k3 = (d.exp() if isinstance(d, torch.Tensor) else math.exp(d)) - d - 1
        return k3 if k3 <= 10 else 10 + 0 * d
    return {"k1": -d, "k2": d * d / 2}[name]


def whitened(rows: list[list[float]]) -> list[list[float]]:
    """Return numbers with mean 0 and (biased) std 1 over all of them."""
    flat = [value for row in rows for value in row]
    mean = sum(flat) / len(flat)
    std = (sum((value - mean) ** 2 for value in flat) / len(flat)) ** 0.5
    return [[(value - mean) / std for value in row] for row in rows]


def reward_credit(name: str, algorithm: Any, batch: Batch) -> list[float]:
    """Return one advantage per response for the algorithms that compare the samples of a problem."""
    credit = [0.0] * len(batch.tokens_BT)
    centred_all = []
    for g in range(int(batch.group_B.max()) + 1):
        rows = [r for r in range(len(credit)) if batch.group_B[r] == g and batch.included_B[r]]
        if len(rows) < 2:
            continue
        rewards = [float(batch.rewards_B[r]) for r in rows]
        n, mean = len(rewards), sum(rewards) / len(rewards)
        std = (sum((r - mean) ** 2 for r in rewards) / (n - 1)) ** 0.5
        centred_all += [r - mean for r in rewards]
        for row, reward in zip(rows, rewards, strict=True):
            others = (sum(rewards) - reward) / (n - 1)
            if name == "maxrl":
                credit[row] = (reward - mean) / mean if mean > 0 else 0.0
            elif name == "pass_at_k":
                credit[row] = pass_at_k_credit([r > 0 for r in rewards], reward > 0, min(algorithm.k, n))
            elif (
                name in ("grpo", "dapo", "gspo", "cispo", "dppo", "entrocraft", "entropic", "distill")
                and getattr(algorithm, "scale", "group") == "group"
            ):
                credit[row] = (reward - mean) / (std + 1e-6)
            elif name == "rloo":
                credit[row] = reward - others
            elif name == "asymre":
                credit[row] = reward - (mean + algorithm.baseline_shift)
            elif name == "opmd" and algorithm.baseline == "soft-maximum":
                tau = algorithm.tau
                credit[row] = reward - tau * math.log(sum(math.exp(r / tau) for r in rewards) / n)
            else:
                credit[row] = reward - mean
    if name == "lite_ppo" or getattr(algorithm, "scale", "") == "batch":
        spread = (sum(c * c for c in centred_all) / len(centred_all)) ** 0.5
        credit = [c / spread for c in credit]
    return credit


def pass_at_k_credit(right: list[bool], own: bool, k: int) -> float:
    """Return the credit of a sample by counting subsets: its own share that holds a right one, beside all of them."""
    n = len(right)
    solved = [any(right[i] for i in subset) for subset in itertools.combinations(range(n), k)]
    rho = sum(solved) / len(solved)
    sigma = (rho * (1 - rho)) ** 0.5 + 1e-6
    if own:
        return (1 - rho) / sigma
    me = right.index(False)
    mine = [any(right[i] for i in subset) for subset in itertools.combinations(range(n), k) if me in subset]
    return (sum(mine) / len(mine) - rho) / sigma


def steered(name: str, a: Any, credit: list[float], batch: Batch, entropy: float, step: int, integral: float) -> Any:
    """Return the credit of the methods that look at the entropy (`step` counts from 0)."""
    if name == "entropic":
        alpha = max(-1.0, min(1.0, integral + entropy - a.entropy_target))
        return [c * (1 + alpha) if c > 0 else c * (1 - alpha) for c in credit]
    done = min(1.0, step / (a.bound_steps - 1)) if a.bound_steps > 1 else 0.0
    right = [float(r) > a.right_above for r in batch.rewards_B]
    included = batch.included_B.tolist()
    if entropy > a.upper_start + done * (a.upper_end - a.upper_start):
        return [float(ok and used) for ok, used in zip(right, included, strict=True)]
    if entropy < a.lower_start + done * (a.lower_end - a.lower_start):
        return [-float(used and not ok) for ok, used in zip(right, included, strict=True)]
    return credit


def factor(algorithm: Any, old: list[float], sampler: list[float]) -> list[float]:
    """Return the correction of each token of a response."""
    ratios = [math.exp(a - b) for a, b in zip(old, sampler, strict=True)]
    low, high = algorithm.correction_low, algorithm.correction_high
    if algorithm.correction == "truncated":
        return [min(ratio, high) for ratio in ratios]
    if algorithm.correction == "token-mask":
        return [ratio if low <= ratio <= high else 0.0 for ratio in ratios]
    if algorithm.correction == "sequence-mask":
        mean = math.prod(ratios) ** (1 / len(ratios))
        return [float(low <= mean <= high)] * len(ratios)
    return [1.0] * len(ratios)


def token_losses(name: str, a: Any, logprobs: Any, old: list[float], credit: list[float], means: Any) -> list[Any]:
    """Return the loss of each token of a response; `means` are (new, old) means of log π over the vocabulary."""
    log_ratios = [new - before for new, before in zip(logprobs, old, strict=True)]
    found = []
    for t, (logprob, gap, advantage) in enumerate(zip(logprobs, log_ratios, credit, strict=True)):
        ratio = gap.exp()
        rho = float(ratio.detach())
        if name == "rloo":
            loss = -advantage * ratio
        elif name == "cispo":
            loss = -min(rho, a.ratio_cap) * advantage * logprob
        elif name == "dppo":
            now, before = math.exp(float(logprob.detach())), math.exp(old[t])
            distance = abs(now - before)
            grows, shrinks = advantage > 0 and now > before, advantage < 0 and now < before
            held = (grows and distance > a.delta_high) or (shrinks and distance > a.delta_low)
            loss = -min(rho, a.ratio_cap) * (not held) * advantage * logprob
        elif name == "asymre":
            loss = -advantage * logprob
        elif name == "opmd":
            loss = -advantage * logprob / (1 + a.tau)
        elif name == "rec":
            near = 1 - a.clip_low <= rho <= 1 + a.clip_high
            kept = {
                "none": True,
                "two-side": near,
                "one-side": (advantage >= 0 and rho <= 1 + a.clip_high) or (advantage <= 0 and rho >= 1 - a.clip_low),
                "ring": near
                or (advantage >= 0 and rho <= 1 - a.ring_low)
                or (advantage <= 0 and rho >= 1 + a.ring_high),
            }[a.mask_mode]
            weight = {"one": 1.0, "ratio": rho, "exp": math.exp(advantage / a.weight_temperature)}[a.weight_mode]
            loss = -advantage * weight * kept * logprob
            loss = loss + {"k2": a.tau * gap * gap, "forward-kl": -a.tau * logprob}[a.regulariser]
        elif name == "rover":
            later = a.value_scale * (means[0][t + 1] - means[1][t + 1]) if t + 1 < len(logprobs) else 0.0
            loss = (a.value_scale * gap - (advantage + later)) ** 2
        else:
            if name == "gspo":
                ratio = (sum(log_ratios) / len(log_ratios)).exp()
            low, high = 1 - a.clip_low, 1 + a.clip_high
            loss = -torch.minimum(advantage * ratio, advantage * ratio.clamp(low, high))
            loss = loss * getattr(a, "rl_coef", 1.0)
        found.append(loss)
    return found


def shares(algorithm: Any, places: list[list[int]], batch: Batch, rows: list[int]) -> dict[int, float]:
    """Return the weight of each token of each response in the mean over an update."""
    lengths = {row: len(places[row]) for row in rows if places[row]}
    group_of = {row: int(batch.group_B[row]) for row in lengths}
    of_group = {g: sum(n for row, n in lengths.items() if group_of[row] == g) for g in group_of.values()}
    return {
        row: {
            "token": 1 / sum(lengths.values()),
            "sequence": 1 / (n * len(lengths)),
            "prompt": 1 / (of_group[group_of[row]] * len(of_group)),
            "constant": 1 / (algorithm.constant_length * len(lengths)),
        }[algorithm.normaliser]
        for row, n in lengths.items()
    }


class Plain:
    """A learner in loops."""

    def __init__(self, name: str, algorithm: Any, model: Any, critic: Any):
        self.name, self.algorithm, self.model, self.critic = name, algorithm, model, critic
        self.reference, self.scale = copy.deepcopy(model), 1.0
        self.steps, self.integral = 0, 0.0
        self.optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER)
        if critic:
            self.critic_optimizer = torch.optim.AdamW(critic.parameters(), **{**OPTIMIZER, "lr": CRITIC_LR})

    def values(self, batch: Batch) -> torch.Tensor:
        hidden_BTH = self.critic.backbone(input_ids=batch.tokens_BT, use_cache=False).last_hidden_state
        values_BT = torch.zeros(batch.tokens_BT.shape)
        values_BT[:, 1:] = self.critic.head(hidden_BTH[:, :-1]).squeeze(-1)
        return values_BT

    def step(self, batch: Batch) -> tuple[list[dict[str, torch.Tensor]], float]:
        """Return the gradients of each update, and the KL coefficient that they had."""
        a, name, tokens_BT = self.algorithm, self.name, batch.tokens_BT
        places = kept_places(a, batch)
        with torch.no_grad():
            old_BTV = all_logprobs(self.model, tokens_BT)
            ref_BTV = all_logprobs(self.reference, tokens_BT, a.teacher_temperature)
            values_BT = self.values(batch) if self.critic else torch.zeros(tokens_BT.shape)

        def chosen(scores_BTV: torch.Tensor, row: int) -> list[Any]:
            return [scores_BTV[row, t, tokens_BT[row, t]] for t in places[row]]

        old = [[x.item() for x in chosen(old_BTV, row)] for row in range(len(tokens_BT))]
        ref = [[x.item() for x in chosen(ref_BTV, row)] for row in range(len(tokens_BT))]
        values = [[float(values_BT[row, t]) for t in places[row]] for row in range(len(tokens_BT))]
        returns: list[list[float]] = []
        if name in ("ppo", "reinforce_pp"):
            credit = []
            for row in range(len(tokens_BT)):
                reward = float(batch.rewards_B[row])
                if name == "ppo":
                    reward = min(max(reward, -a.reward_clip), a.reward_clip)
                beta, count = a.kl_reward_coef * self.scale, len(places[row])
                rewards = [-beta * estimate(a.kl_estimator, x, y) for x, y in zip(old[row], ref[row], strict=True)]
                if count:
                    rewards[-1] += reward
                lam = a.lam if name == "ppo" else 1.0
                ahead = [*values[row][1:], 0.0]
                deltas = [rewards[t] + a.gamma * ahead[t] - values[row][t] for t in range(count)]
                own = [sum((a.gamma * lam) ** (k - t) * deltas[k] for k in range(t, count)) for t in range(count)]
                credit.append(own)
                returns.append([x + y for x, y in zip(own, values[row], strict=True)])
            credit = whitened(credit)
        else:
            each = reward_credit(name, a, batch)
            if a.needs_entropy:
                kept = [old_BTV[row, t] for row in range(len(tokens_BT)) for t in places[row]]
                entropy = sum(-float((x.exp() * x).sum()) for x in kept) / len(kept)
                each = steered(name, a, each, batch, entropy, self.steps, self.integral)
                if name == "entropic":
                    self.integral += a.integral_rate * (entropy - a.entropy_target)
                self.steps += 1
            credit = [[each[row]] * len(places[row]) for row in range(len(tokens_BT))]
            if name == "reinforce_pp_baseline":
                credit = whitened(credit)

        gradients, kls = [], []
        for groups in (range(3), range(3, 7)):  # Seven problems in updates of at most four.
            rows = [r for r in range(len(tokens_BT)) if int(batch.group_B[r]) in groups and places[r]]
            share = shares(a, places, batch, rows)
            new_BTV = all_logprobs(self.model, tokens_BT)
            total, kl_sum, kl_count = torch.zeros(()), 0.0, 0
            for row in rows:
                new = chosen(new_BTV, row)
                sampler = [float(batch.sampler_logprobs_BT[row, t]) for t in places[row]]
                of_all = (new_BTV, old_BTV) if name == "rover" else ()
                means = [[x[row, t].detach().mean().item() for t in places[row]] for x in of_all]
                corrected = factor(a, old[row], sampler)
                losses = token_losses(name, a, new, old[row], credit[row], means)
                for t, loss in enumerate(losses):
                    if a.entropy_coef:
                        distribution_V = new_BTV[row, places[row][t]]
                        loss = loss + a.entropy_coef * (distribution_V.exp() * distribution_V).sum()
                    if a.kl_coef or a.kl_target:
                        kl = estimate(a.kl_estimator, new[t], torch.tensor(ref[row][t]))
                        kl_sum, kl_count = kl_sum + float(kl.detach()), kl_count + 1
                        loss = loss + a.kl_coef * self.scale * kl
                    total = total + share[row] * corrected[t] * loss
            total.backward()
            kls.append(kl_sum / max(kl_count, 1))
            gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters()})
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.critic:
                gradients[-1] |= self.update_critic(batch, places, share, values, returns)
        coefficient = self.scale * (a.kl_coef or a.kl_reward_coef)
        if a.kl_target:
            error = min(max(sum(kls) / 2 / a.kl_target - 1, -0.2), 0.2)
            self.scale *= 1 + error * len(tokens_BT) / a.kl_horizon
        return gradients, coefficient

    def update_critic(self, batch: Batch, places: Any, share: Any, old: Any, returns: Any) -> dict[str, torch.Tensor]:
        now_BT, total = self.values(batch), torch.zeros(())
        for row, weight in share.items():
            for t, column in enumerate(places[row]):
                value, target = now_BT[row, column], returns[row][t]
                plain = (value - target) ** 2
                clip = self.algorithm.value_clip
                held = (value.clamp(old[row][t] - clip, old[row][t] + clip) - target) ** 2
                total = total + weight * 0.5 * (torch.maximum(held, plain) if clip else plain)
        total.backward()
        found = {f"critic.{n}": p.grad.clone() for n, p in self.critic.named_parameters()}
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()
        return found


# -- the comparison --------------------------------------------------------------------------------------------------


def recorded(learner: Learner, batch: Batch, step: int) -> tuple[list[dict[str, torch.Tensor]], dict[str, float]]:
    """Do a step; return the gradients of each update, the critic's beside the policy's."""
    parts = {"": (learner.policy.model, learner.optimizer)}
    if learner.critic:
        parts["critic."] = (learner.critic.model, learner.critic.optimizer)
    found: dict[str, list[dict[str, torch.Tensor]]] = {prefix: [] for prefix in parts}
    kept = {}
    for prefix, (model, optimizer) in parts.items():
        kept[prefix] = optimizer.step

        def step_and_note(prefix: str = prefix, model: Any = model) -> None:
            found[prefix].append({f"{prefix}{n}": p.grad.clone() for n, p in model.named_parameters()})
            kept[prefix]()

        optimizer.step = step_and_note
    metrics = learner.step(batch, step).metrics
    for prefix, (_, optimizer) in parts.items():
        optimizer.step = kept[prefix]
    merged = [{n: p for part in updates for n, p in part.items()} for updates in zip(*found.values(), strict=True)]
    return merged, metrics


@pytest.mark.parametrize("case", CASES)
def test_two_steps_against_loops(case: str, tiny: Callable[[str], Policy]) -> None:
    name, settings = CASES[case]
    more = {"critic_lr": CRITIC_LR, "critic_epsilon": 1.0} if ALGORITHMS[name].needs_critic else {}
    algorithm = ALGORITHMS[name](**{"constant_length": 7, **more, **settings})
    policy = tiny("llama")
    start = copy.deepcopy(policy.model)
    beta1, beta2 = OPTIMIZER["betas"]
    learner = Learner(
        policy,
        algorithm,
        optimizer=OptimizerConfig(
            lr=OPTIMIZER["lr"], beta1=beta1, beta2=beta2, epsilon=1.0, grad_clip=1e9, weight_decay=0.0
        ),
        learner=LearnerConfig(tokens_per_microbatch=150, prompts_per_update=4),
        precision="fp32",
        temperature=TEMPERATURE,
        steps=10,
    )
    plain = Plain(name, algorithm, start, copy.deepcopy(learner.critic.model) if learner.critic else None)
    for step in range(2):
        batch = sampled_nearby(make_batch(seed=step), plain.model, seed=step)
        wanted, coefficient = plain.step(batch)
        found, metrics = recorded(learner, batch, step + 1)
        assert len(found) == len(wanted) == 2
        for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert ours.keys() == theirs.keys()
            for prefix in ("", "critic.") if learner.critic else ("",):
                names = [n for n in theirs if n.startswith("critic.") == (prefix == "critic.")]
                largest = max(float(theirs[n].abs().max()) for n in names)
                assert largest > 1e-4, "no gradient to compare"
                for n in names:
                    difference = float((ours[n] - theirs[n]).abs().max())
                    assert difference <= 2e-3 * largest, f"step {step}, update {number}, {n}: {difference} of {largest}"
        if algorithm.needs_reference:
            assert metrics["policy/kl_coef"] == pytest.approx(coefficient, rel=1e-5)
        if algorithm.kl_target and step:
            assert coefficient != pytest.approx(algorithm.kl_coef or algorithm.kl_reward_coef), "it did not adapt"
        if name == "entropic":
            assert metrics["credit/integral"] == pytest.approx(plain.integral, rel=1e-4)


def test_batch_has_every_complication() -> None:
    batch = make_batch()
    assert batch.truncated_B.any()
    assert 0 < int((~batch.included_B).sum()) < len(batch.included_B)
    holes = [row for row in range(len(batch.tokens_BT)) if not batch.mask_BT[row, int(batch.lengths_B[row]) - 1]]
    assert holes, "no response whose last token is not the policy's"
    assert len(set(batch.lengths_B.tolist())) > 5
