"""TRL's GRPOTrainer on the same job, in the CPU setting that we found to be its best (see `SETTING`).

Its defaults (bf16 weights, gradient checkpointing) are made for GPUs and are no match on a CPU. The problems of a step
are those of ours, in the same order; the reward is the string comparison below, which costs nothing.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from measures.job import Job, Step, summary
from measures.machine import Neighbours, memory_gb, set_threads

#: What of TRL's configuration decides its speed here.
SETTING: dict[str, Any] = {
    "dtype": "float32",
    "attn_implementation": "eager",
    "bf16": False,
    "per_device_train_batch_size": 256,
    "gradient_accumulation_steps": 1,
}
#: Micro-batches: how many of how many responses.
SPLITS = {
    f"{count} x {256 // count}": {
        "per_device_train_batch_size": 256 // count,
        "gradient_accumulation_steps": count,
    }
    for count in (1, 2, 4, 8)
}
#: Settings tried by `--trials`. `bf16` is autocast over fp32 weights.
TRIALS: dict[str, dict[str, Any]] = {
    f"{attention}, {precision}, {split}": {
        "attn_implementation": attention,
        "bf16": precision == "bf16",
        **size,
    }
    for attention in ("eager", "sdpa")
    for precision in ("fp32", "bf16")
    for split, size in SPLITS.items()
} | {
    "best, static cache": {"cache_implementation": "static"},
    "best, continuous batching": {"use_transformers_continuous_batching": True},
    "best, unfused AdamW": {"optim": "adamw_torch"},
}

MISSING = "TRL is not installed: pip install 'simplerl[benchmark]' (trl>=1.16,<2)"


def exact_match(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
    """Return 1 for each response whose last box holds the answer to the letter, else 0."""
    found = [re.findall(r"\\boxed\{([^{}]*)\}", text) for text in completions]
    return [float(bool(boxes) and boxes[-1].strip() == gold) for boxes, gold in zip(found, answer, strict=True)]


def measure(job: Job) -> dict[str, Any]:
    """Train and return the figures, or under `missing` what there is to install."""
    try:
        import trl
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    except ImportError as error:
        return {"missing": f"{MISSING} ({error})"}
    from simplerl.data.prompts import TEMPLATES
    from simplerl.feed.samplers import Sampler
    from simplerl.models import cub
    from simplerl.train.components import load_problems

    set_threads(job.threads)
    config, setting = job.config, SETTING | job.trl
    wanted, optimizer = config.sampling, config.optimizer
    batch = wanted.prompts_per_step * wanted.samples_per_prompt
    if job.tiny:
        setting |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 1}
    sampler = Sampler(load_problems(config, print).train, per_step=wanted.prompts_per_step, seed=config.seed)
    template = TEMPLATES[config.template]
    rows = [
        {"prompt": template.format(problem.question), "answer": problem.answer}
        for step in range(1, job.total + 1)
        for problem in sampler.at(step)
    ]
    directory = str(cub.path(config.model))
    loading = {name: setting.pop(name) for name in ("dtype", "attn_implementation")}
    watch = _Watch()

    class Trainer(trl.GRPOTrainer):
        """Takes the time of its phases."""

        def _generate_and_score_completions(self, *args, **kwargs):
            with watch.phase("rollout"):
                return super()._generate_and_score_completions(*args, **kwargs)

        def training_step(self, *args, **kwargs):
            with watch.phase("rollout and update"):
                return super().training_step(*args, **kwargs)

    class Clock(TrainerCallback):
        """Takes the time of whole steps: from one step's end to the next, so that nothing is left out."""

        def on_train_begin(self, *args, **kwargs):
            watch.start()

        def on_step_end(self, *args, **kwargs):
            watch.lap()

    def reward(completions, answer, completion_ids, **columns):
        watch.count(completion_ids)
        return exact_match(completions, answer)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=AutoModelForCausalLM.from_pretrained(directory, **loading),
            processing_class=AutoTokenizer.from_pretrained(directory),
            reward_funcs=reward,
            train_dataset=Dataset.from_list(rows),
            callbacks=[Clock()],
            args=trl.GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                max_steps=job.total,
                num_generations=wanted.samples_per_prompt,
                max_completion_length=wanted.max_new_tokens,
                temperature=wanted.temperature,
                shuffle_dataset=False,
                learning_rate=optimizer.lr,
                lr_scheduler_type="constant",
                adam_beta1=optimizer.beta1,
                adam_beta2=optimizer.beta2,
                adam_epsilon=optimizer.epsilon,
                weight_decay=optimizer.weight_decay,
                max_grad_norm=optimizer.grad_clip,
                beta=0.0,
                loss_type="dapo",
                gradient_checkpointing=False,
                save_strategy="no",
                eval_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **setting,
            ),
        )
        ready, _ = memory_gb()
        with Neighbours() as neighbours:
            trainer.train()
    return {
        "name": f"TRL {trl.__version__}",
        "setting": {**loading, **setting},
        **summary(watch.steps, job.warmup),
        "memory_gb": memory_gb()[1],
        "memory_ready_gb": ready,
        "neighbours": neighbours.share,
    }


class _Watch:
    """Seconds and tokens of each step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._phases: dict[str, float] = {}
        self._responses = self._tokens = 0
        self._began = 0.0

    def start(self) -> None:
        """Begin the first step."""
        self._began = time.perf_counter()

    def count(self, completion_ids: Sequence[Sequence[int]]) -> None:
        """Add responses to the step."""
        self._responses += len(completion_ids)
        self._tokens += sum(map(len, completion_ids))

    def phase(self, name: str) -> "_Phase":
        """Return a context that adds its time to a phase of the step."""
        return _Phase(self._phases, name)

    def lap(self) -> None:
        """End the step and begin the next."""
        now = time.perf_counter()
        seconds, phases = now - self._began, self._phases
        rollout = phases.get("rollout", 0.0)
        update = phases.get("rollout and update", 0.0) - rollout
        self.steps.append(
            Step(
                seconds=seconds,
                phases={"rollout": rollout, "update": update, "rest": seconds - rollout - update},
                responses=self._responses,
                tokens=self._tokens,
            )
        )
        self._phases.clear()
        self._responses = self._tokens = 0
        self._began = now


class _Phase:
    def __init__(self, phases: dict[str, float], name: str):
        self.phases, self.name = phases, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.phases[self.name] = self.phases.get(self.name, 0.0) + time.perf_counter() - self.began
