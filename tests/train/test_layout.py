"""How a batch is laid out changes no gradient: micro-batches, order, padding, skipped groups, checkpointing."""

import dataclasses
import functools
import threading
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import TIMED_OUT, copy_policy, group, joined, mixed_parts, random_groups, trajectory

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.types import Batch
from simplerl.models.load import Policy, recompute_activations
from simplerl.runs.metrics import TIMINGS
from simplerl.train import learner as learner_module
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner, StepResult

#: Every registered algorithm as it comes, and settings that bring in every term of a loss and every normaliser.
CASES: dict[str, Any] = {name: algorithm(constant_length=10) for name, algorithm in ALGORITHMS.items()} | {
    "grpo-zoo": ALGORITHMS["grpo"](kl_coef=0.1, entropy_coef=0.05),
    "grpo-sequence": ALGORITHMS["grpo"](normaliser="sequence", kl_coef=0.1, kl_estimator="k2"),
    "grpo-prompt": ALGORITHMS["grpo"](normaliser="prompt", entropy_coef=0.05),
    "grpo-constant": ALGORITHMS["grpo"](normaliser="constant", constant_length=10, scale="none"),
    "grpo-masked": ALGORITHMS["grpo"](mask_truncated=True, kl_coef=0.1),
    "grpo-batch": ALGORITHMS["grpo"](scale="batch", correction="truncated"),
    "grpo-token-mask": ALGORITHMS["grpo"](correction="token-mask", correction_low=0.1, correction_high=9.0),
    "grpo-sequence-mask": ALGORITHMS["grpo"](correction="sequence-mask", correction_low=0.01, correction_high=9.0),
    "reinforce_pp-masked": ALGORITHMS["reinforce_pp"](kl_reward_coef=0.5, gamma=0.9, mask_truncated=True),
    "gspo-wide": ALGORITHMS["gspo"](clip_low=0.2, clip_high=0.3),
    "dppo-close": ALGORITHMS["dppo"](delta_low=1e-4, delta_high=1e-4),
    "cispo-scalerl": ALGORITHMS["cispo"](scale="batch", normaliser="prompt", exclude_equal=True),
    "rec-ring": ALGORITHMS["rec"](mask_mode="ring", weight_mode="ratio", regulariser="k2", tau=0.1),
    "rec-exp": ALGORITHMS["rec"](mask_mode="two-side", weight_mode="exp", regulariser="forward-kl", tau=0.1),
    "ppo-all": ALGORITHMS["ppo"](
        kl_reward_coef=0.0,
        kl_coef=0.1,
        kl_estimator="k2",
        entropy_coef=0.05,
        normaliser="sequence",
        critic_lr=1e-2,
        mask_truncated=True,
    ),
    "grpo-k2": ALGORITHMS["grpo"](kl_coef=0.1, kl_estimator="k2"),
    # Every two of these groups hold a right response: by pass@2 there is nothing to learn in the second update.
    "pass_at_k": ALGORITHMS["pass_at_k"](k=1),
    "entropic-near": ALGORITHMS["entropic"](entropy_target=2.4),
    "distill": ALGORITHMS["distill"](teacher_temperature=0.5),  # Sharpened, so that there is something to learn.
    "distill-and-rl": ALGORITHMS["distill"](rl_coef=0.7, teacher_temperature=0.5, entropy_coef=0.05),
    "opmd-soft": ALGORITHMS["opmd"](baseline="soft-maximum", tau=0.3),
}

Gradients = list[dict[str, torch.Tensor]]


def learn(
    policy: Policy,
    algorithm: Any,
    batch: Batch,
    *,
    tokens: int = 10**6,
    prompts_per_update: int = 0,
    checkpointing: bool = False,
    precision: str = "fp32",
    share_prompts: str = "auto",
) -> tuple[Gradients, StepResult]:
    """Do one step on a copy of the policy. Return the gradients of each update and what was learned."""
    policy = copy_policy(policy)
    learner = Learner(
        policy,
        algorithm,
        optimizer=OptimizerConfig(lr=0.1, epsilon=1.0, grad_clip=1e9, weight_decay=0.0),
        learner=LearnerConfig(
            tokens_per_microbatch=tokens,
            prompts_per_update=prompts_per_update,
            gradient_checkpointing=checkpointing,
            share_prompts=share_prompts,
        ),
        precision=precision,
        temperature=1.3,
        steps=1,
    )
    assert learner.share_prompts == ("on" if share_prompts == "on" else "off")
    gradients: Gradients = []
    real_step = learner.optimizer.step

    def step(*args: Any, **kwargs: Any) -> Any:
        named = policy.model.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
        return real_step(*args, **kwargs)

    learner.optimizer.step = step
    if learner.critic:  # Its update follows the policy's: its gradients join those of that update.
        real_critic_step = learner.critic.optimizer.step

        def critic_step(*args: Any, **kwargs: Any) -> Any:
            named = learner.critic.model.named_parameters()
            gradients[-1] |= {f"critic.{name}": p.grad.clone() for name, p in named if p.grad is not None}
            return real_critic_step(*args, **kwargs)

        learner.critic.optimizer.step = critic_step
    return gradients, learner.step(batch, 1)


def assert_same(found: Gradients, wanted: Gradients) -> None:
    """Assert that gradients agree up to the rounding of fp32, relative to the largest of them.

    A second update starts from weights that rounding has moved apart already, so it is allowed ten times as much.
    """
    assert len(found) == len(wanted) > 0
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        tolerance = 1e-5 if number == 0 else 1e-4
        assert one.keys() == other.keys()
        largest_of = {False: 0.0, True: 0.0}  # The policy's, and the critic's.
        for name, values in other.items():
            largest_of[name.startswith("critic.")] = max(
                largest_of[name.startswith("critic.")], values.abs().max().item()
            )
        for name, values in one.items():
            largest = largest_of[name.startswith("critic.")]
            assert largest > 1e-4, "no gradient to compare"
            difference = (values - other[name]).abs().max().item()
            assert difference <= tolerance * largest, f"{name}: {difference:.3g} of {largest:.3g}"


def permuted(batch: Batch, seed: int) -> Batch:
    """Return the batch with its rows in another order."""
    order = torch.randperm(len(batch.tokens_BT), generator=torch.Generator().manual_seed(seed))
    fields = {field.name: getattr(batch, field.name)[order] for field in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **fields)


def padded(batch: Batch, columns: int) -> Batch:
    """Return the batch with more padding, of a token that means something elsewhere."""
    wide = {}
    for name, filling in (
        ("tokens_BT", 9),
        ("mask_BT", False),
        ("sampler_logprobs_BT", 0.0),
        ("to_come_BT", 0.0),
        ("credit_BT", 0.0),
    ):
        values = getattr(batch, name)
        wide[name] = torch.cat([values, torch.full((len(values), columns), filling, dtype=values.dtype)], 1)
    return dataclasses.replace(batch, **wide)


#: Each differs from the batch as it is, in one micro-batch for each update, in all that it names.
LAYOUTS: dict[str, Callable[[Batch], tuple[Batch, int]]] = {
    "as it is": lambda batch: (batch, 10**6),
    "order and padding, few rows each": lambda batch: (padded(permuted(batch, 1), 9), 45),
    "order and padding, one row each": lambda batch: (padded(permuted(batch, 2), 3), 1),
}
FEW, ONE = list(LAYOUTS)[1:]


@pytest.fixture(scope="module", params=["long-prompts", "several-turns"])
def batch(request: pytest.FixtureRequest) -> Batch:
    """Two shapes of batch: where prompts are most of the tokens, and long responses of which others wrote a part."""
    several = request.param == "several-turns"
    return build_batch(random_groups(longest=40 if several else 6, holes=several))


@pytest.fixture(scope="module")
def learned(batch: Batch, fresh, tiny_models) -> Callable[..., tuple[Gradients, StepResult]]:
    """Give what a case learns from the batch in a layout, in two updates, computed once."""

    @functools.cache
    def get(case: str, layout: str = "as it is") -> tuple[Gradients, StepResult]:
        laid_out, tokens = LAYOUTS[layout](batch)
        policy = fresh(str(tiny_models("llama")))
        return learn(policy, CASES[case], laid_out, tokens=tokens, prompts_per_update=2)

    return get


@pytest.mark.parametrize("layout", [FEW, ONE])
@pytest.mark.parametrize("case", CASES)
def test_layout_does_not_matter(case: str, layout: str, learned) -> None:
    (wanted, before), (found, after) = learned(case), learned(case, layout)
    assert len(wanted) == 2, "the second update is off-policy, so that the clip takes part"
    assert_same(found, wanted)
    found_metrics, wanted_metrics = (
        {name: value for name, value in learned.metrics.items() if not name.startswith(TIMINGS)}
        for learned in (after, before)
    )
    assert found_metrics == pytest.approx(wanted_metrics, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if not CASES[case].needs_critic])
def test_micro_batches_at_once_change_no_bit(case: str, batch: Batch, learned, tiny, monkeypatch) -> None:
    """A tiny model's are computed by as many threads as there are, each by one; gradients add up in their order."""
    laid_out, tokens = LAYOUTS[FEW](batch)
    policy, usual, results, loss = tiny("llama"), torch.get_num_threads(), [], Learner._loss
    seen: set[tuple[int, int]] = set()

    def watched(*args: Any, **options: Any) -> Any:
        seen.add((threads, threading.get_ident()))
        return loss(*args, **options)

    monkeypatch.setattr(Learner, "_loss", watched)
    in_bf16 = {"precision": "bf16"} if case == "grpo" else {}
    try:
        for threads in (1, 3) if in_bf16 else (3,):
            torch.set_num_threads(threads)
            results.append(learn(policy, CASES[case], laid_out, tokens=tokens, prompts_per_update=2, **in_bf16))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(usual)
    assert not in_bf16 or (1, threading.get_ident()) in seen
    assert (3, threading.get_ident()) not in seen, "each has a thread of its own"
    wanted, before = results[0] if in_bf16 else learned(case, FEW)
    found, after = results[-1]
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(values, other[name]) for name, values in one.items())
    for name, value in before.metrics.items():
        assert name.startswith(TIMINGS) or after.metrics[name] == value, name


def test_what_fails_in_one_of_several_micro_batches_is_raised(batch, tiny, monkeypatch) -> None:
    usual = torch.get_num_threads()
    monkeypatch.setattr(Learner, "_loss", lambda *args, **options: 1 / 0)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError):
            learn(tiny("llama"), CASES["grpo"], batch, tokens=45)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)


@pytest.mark.parametrize(("case", "tokens"), [(case, 45) for case in CASES] + [("grpo-zoo", 10**6), ("grpo-zoo", 1)])
def test_prompts_may_be_computed_once(case: str, tokens: int, batch: Batch, learned, tiny) -> None:
    """For the responses of a micro-batch, for all, and for each on its own; the critic does as the policy does."""
    options: dict[str, Any] = {"tokens": tokens, "prompts_per_update": 2, "share_prompts": "on"}
    (wanted, before), (found, after) = learned(case), learn(tiny("llama"), CASES[case], permuted(batch, 1), **options)
    assert_same(found, wanted)
    assert after.metrics["policy/loss"] == pytest.approx(before.metrics["policy/loss"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_all_prompts_may_be_computed_before_the_responses(
    case: str, tiny: Callable[[str], Policy], monkeypatch
) -> None:
    """By one thread or by several, to the last bit the same; rounding aside, what each response with its own gives.

    That every algorithm's micro-batches may be computed at once `test_micro_batches_at_once_change_no_bit` holds.
    """
    policy, batch = tiny("llama"), build_batch(random_groups(prompts=(12, 20), longest=12))
    plans = []
    real = learner_module.cut_behind_prompts
    monkeypatch.setattr(
        learner_module, "cut_behind_prompts", lambda *args, **cuts: plans.append(real(*args, **cuts)) or plans[-1]
    )
    wanted, before = learn(policy, CASES[case], batch, tokens=100, prompts_per_update=2, share_prompts="off")
    assert not plans
    usual, outcomes = torch.get_num_threads(), []
    try:
        for threads in (1, 3) if case in ("grpo-zoo", "rover", "distill-and-rl", "ppo-all") else (1,):
            torch.set_num_threads(threads)
            outcomes.append(learn(policy, CASES[case], batch, tokens=100, prompts_per_update=2))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(usual)
    assert any(plans) or case == "entropic", "of its few rows that teach something nothing would be saved"
    (found, after), (by_threads, _) = outcomes[0], outcomes[-1]
    assert_same(found, wanted)
    for name, value in before.metrics.items():
        if not name.startswith(TIMINGS):
            assert after.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for one, several in zip(found, by_threads, strict=True):
        for name, values in one.items():
            assert "critic" in name or torch.equal(values, several[name]), name


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "mistral-sliding", "phi", "qwen2-tied", "gemma3"])
@pytest.mark.parametrize("prompts", [(2, 7), (12, 20)])
def test_prompts_may_be_computed_once_by_any_architecture(architecture, prompts, tiny) -> None:
    """Also where a window ends within the prompt."""
    policy, batch = tiny(architecture), build_batch(random_groups(prompts=prompts))
    wanted, _ = learn(policy, CASES["grpo-zoo"], batch)
    found, _ = learn(policy, CASES["grpo-zoo"], batch, tokens=60, share_prompts="on")
    assert_same(found, wanted)


def test_prompts_are_computed_again_where_stored_states_would_not_do(tiny, monkeypatch) -> None:
    def learner(policy: Policy, **options: Any) -> Learner:
        settings = {"optimizer": OptimizerConfig(), "precision": "fp32", "temperature": 1.0, "steps": 1}
        return Learner(policy, ALGORITHMS["grpo"](), learner=LearnerConfig(share_prompts="on", **options), **settings)

    assert learner(tiny("llama")).share_prompts == "on"
    checkpointed = learner(tiny("llama"), gradient_checkpointing=True)
    assert checkpointed.share_prompts == "off"
    assert "gradient_checkpointing keeps no keys" in checkpointed.note
    policy = tiny("llama")
    forgetful = policy.model.base_model.forward
    monkeypatch.setattr(
        policy.model.base_model,
        "forward",
        lambda input_ids, position_ids=None, **_: forgetful(input_ids, position_ids=position_ids, use_cache=False),
    )
    refused = learner(policy)
    assert refused.share_prompts == "off"
    assert "LlamaForCausalLM gives other values" in refused.note


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "mistral-sliding", "phi", "qwen2-tied"])
def test_layout_does_not_matter_to_any_architecture(architecture: str, tiny: Callable[[str], Policy]) -> None:
    """Padding stands on the right of rows of different lengths; windows, learned positions and ties see none of it."""
    policy, batch = tiny(architecture), build_batch(random_groups(longest=24))
    wanted, _ = learn(policy, CASES["grpo-zoo"], batch, tokens=1)
    found, _ = learn(policy, CASES["grpo-zoo"], padded(permuted(batch, 3), 5))
    assert_same(found, wanted)


#: Two algorithms with a reference, one of them corrected for its sampler, and one with a critic.
MIXED = {
    "grpo": ALGORITHMS["grpo"](kl_coef=0.1, normaliser="sequence", correction="truncated"),
    "distill": ALGORITHMS["distill"](teacher_temperature=0.5, rl_coef=0.7),
    "ppo": ALGORITHMS["ppo"](critic_lr=1e-2),
}


@pytest.mark.parametrize("layout", [FEW, ONE])
@pytest.mark.parametrize("case", MIXED)
def test_rows_of_all_terms_in_one_batch_in_any_layout(case: str, layout: str, tiny: Callable[[str], Policy]) -> None:
    policy, batch = tiny("llama"), joined(mixed_parts())
    wanted, before = learn(policy, MIXED[case], batch, prompts_per_update=8)
    laid_out, tokens = LAYOUTS[layout](batch)
    found, after = learn(policy, MIXED[case], laid_out, tokens=tokens, prompts_per_update=8)
    assert_same(found, wanted)
    assert {"policy/loss", "sft/loss", "ref_kl/loss"} <= before.metrics.keys()
    for name, value in before.metrics.items():
        if not name.startswith(TIMINGS):
            assert after.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("case", ["grpo", "distill"])
def test_each_term_has_a_denominator_of_its_own(case: str, tiny: Callable[[str], Policy]) -> None:
    """The gradient of all rows is the sum of the gradients that the rows of each term have on their own."""
    policy, parts, algorithm = tiny("llama"), mixed_parts(), MIXED[case]
    if case == "distill":  # Whose own rows have a KL to the teacher too, in the mean with those that have no other.
        parts = [joined([parts[0], parts[2]]), parts[1]]
    together, _ = learn(policy, algorithm, joined(parts))
    alone = [learn(policy, algorithm, part)[0][0] for part in parts]
    summed = {name: sum(gradient[name] for gradient in alone) for name in together[0]}
    assert_same(together, [summed])


def test_rows_that_only_give_credit_are_not_trained_on(tiny: Callable[[str], Policy]) -> None:
    """The advantages are those of complete groups; the gradient is that of the other rows alone."""
    groups = random_groups(problems=3)
    every, some = build_batch(groups), build_batch(groups, [0, 0, -1, 0] * 3)
    policy = tiny("llama")
    _, complete = learn(policy, CASES["grpo"], every)
    found, partial = learn(policy, CASES["grpo"], some)
    for one, other in zip(partial.advantages, complete.advantages, strict=True):
        assert np.array_equal(one, other)
    credit_BT = torch.full(every.tokens_BT.shape, 0.0)
    for row, advantages in enumerate(complete.advantages):
        start = int(every.prompt_lengths_B[row])
        credit_BT[row, start : start + len(advantages)] = torch.tensor(advantages)
    rows = some.component_B == 0
    fields = {field.name: getattr(every, field.name)[rows] for field in dataclasses.fields(every)}
    wanted, _ = learn(policy, CASES["grpo"], Batch(**{**fields, "credit_BT": credit_BT[rows]}))
    assert_same(found, wanted)
    assert partial.metrics["tokens/useful"] < complete.metrics["tokens/useful"]


@pytest.mark.parametrize("case", CASES)
def test_groups_without_gradient_may_be_skipped(case: str, tiny: Callable[[str], Policy]) -> None:
    algorithm = CASES[case]
    flat = [group(*[trajectory(response=[9, 8, 7, 6], reward=1.0)] * 4, id="flat")]
    batch = build_batch([*flat, *random_groups(problems=3)])

    class Everything(type(algorithm)):
        def has_gradient(self, advantages_BT: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(advantages_BT), dtype=torch.bool)

    everything = Everything(**dataclasses.asdict(algorithm))
    skips = not algorithm.has_gradient(torch.zeros(2, 3)).any() and algorithm.kl_reward_coef == 0
    wanted, _ = learn(tiny("llama"), everything, batch)
    found, learned = learn(tiny("llama"), algorithm, batch)
    assert_same(found, wanted)
    if skips and case != "asymre":  # Its advantages are not zero where all rewards are equal.
        assert learned.metrics["tokens/scored"] < int(batch.mask_BT.sum())


@pytest.mark.parametrize("case", CASES)
def test_undecided_responses_do_not_take_part(case: str, tiny: Callable[[str], Policy]) -> None:
    """Their reward is NaN: the gradient is that of the batch without them, and nothing becomes NaN."""
    groups = random_groups(problems=3)
    lost = trajectory(prompt=groups[0].trajectories[0].prompt_ids, response=[9] * 5, verdict=TIMED_OUT)
    with_lost = [
        group(
            *members.trajectories, dataclasses.replace(lost, prompt_ids=members.trajectories[0].prompt_ids), id=f"p{i}"
        )
        for i, members in enumerate(groups)
    ]
    only_lost = group(lost, lost, id="all-lost")
    wanted, _ = learn(tiny("llama"), CASES[case], build_batch(groups))
    found, learned = learn(tiny("llama"), CASES[case], build_batch([*with_lost, only_lost]), tokens=30)
    assert_same(found, wanted)
    assert all(np.isfinite(each).all() for each in learned.advantages)
    assert all(value == value for value in learned.metrics.values())


@pytest.mark.parametrize("terms", [{}, {"kl_coef": 0.1, "entropy_coef": 0.01}])
def test_masked_truncated_responses_are_as_if_no_token_could_be_trained(terms, tiny) -> None:
    groups = random_groups(problems=4, longest=5)
    closed = [
        group(
            *[
                dataclasses.replace(t, segments=() if t.completion.stop_reason == "length" else t.segments)
                for t in members.trajectories
            ],
            id=f"p{i}",
        )
        for i, members in enumerate(groups)
    ]
    batch = build_batch(groups)
    assert 2 <= batch.truncated_B.sum() <= len(batch.truncated_B) - 4
    wanted, _ = learn(tiny("llama"), ALGORITHMS["grpo"](**terms), build_batch(closed))
    found, _ = learn(tiny("llama"), ALGORITHMS["grpo"](mask_truncated=True, **terms), batch, tokens=1)
    assert_same(found, wanted)


@pytest.mark.parametrize("terms", [{}, {"kl_coef": 0.1, "entropy_coef": 0.01}])
@pytest.mark.parametrize("verdict", ["truncated", "undecided"])
def test_nothing_left_to_learn_from_changes_nothing(verdict: str, terms: dict[str, float], tiny) -> None:
    policy = tiny("llama")
    if verdict == "truncated":
        groups = [group(*[trajectory(reward=float(i), stop_reason="length") for i in range(4)])]
    else:
        groups = [group(*[trajectory(verdict=TIMED_OUT) for _ in range(4)])]
    learner = Learner(
        policy,
        ALGORITHMS["grpo"](mask_truncated=True, **terms),
        optimizer=OptimizerConfig(lr=1.0),
        learner=LearnerConfig(),
        precision="fp32",
        temperature=1.0,
        steps=1,
    )
    before = {name: values.clone() for name, values in policy.model.state_dict().items()}
    metrics = learner.step(build_batch(groups), 1).metrics
    assert metrics["optimizer/updates"] == 0
    assert metrics["tokens/useful"] == metrics["tokens/scored"] == 0
    assert all(value == value for value in metrics.values())
    assert all(torch.equal(values, before[name]) for name, values in policy.model.state_dict().items())


@pytest.mark.parametrize("name", ["cub-qwen", "cub-llama", "cub-mistral"])
def test_gradient_checkpointing_gives_the_same_gradient(name: str, cub: Callable[[str], Policy]) -> None:
    policy, batch = cub(name), build_batch(random_groups(vocabulary=300))
    wanted, _ = learn(policy, CASES["grpo-zoo"], batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # Nothing is called that the next version has not.
        found, _ = learn(policy, CASES["grpo-zoo"], batch, checkpointing=True, tokens=60)
    assert_same(found, wanted)


def test_gradient_checkpointing_under_its_old_name() -> None:
    """In the first versions of transformers 5 there is no other."""
    given: list[dict[str, bool]] = []
    recompute_activations(SimpleNamespace(gradient_checkpointing_enable=given.append))
    assert given == [{"use_reentrant": False}]


def test_bf16_points_the_same_way(cub: Callable[[str], Policy]) -> None:
    policy, batch = cub("cub-qwen"), build_batch(random_groups(vocabulary=300, problems=8))
    exact, _ = learn(policy, CASES["grpo"], batch)
    rough, _ = learn(policy, CASES["grpo"], batch, precision="bf16")
    one, other = (torch.cat([values.flatten() for values in g[0].values()]) for g in (exact, rough))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99
    assert not torch.equal(one, other), "autocast did not act"
