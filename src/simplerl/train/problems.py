"""Which problems a run learns from and which it is evaluated on, as prompts; what is left out is said and recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simplerl import data
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Problem
from simplerl.data.prompts import Prompter, difference
from simplerl.models.load import Policy
from simplerl.rollout.collect import Prompted, fingerprint, prompt
from simplerl.train.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The problems of a run, and what is to be recorded of how they were chosen."""

    train: list[Problem]
    held_out: list[Problem]
    shared: list[str]
    """Ids left out of training because their question is held out."""
    left_out: dict[str, list[str]]
    """`train` and `held_out` → places of the rows that have no gold answer."""
    origin: dict[str, Any]
    """`train` and `held_out` → file and SHA-256, or hub data set and commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """The problems of a run as the model is given them, and what environment.json says of the data."""

    train: list[Prompted]
    held_out: list[Prompted]
    record: dict[str, Any]


def load_problems(config: Config, say: Callable[[str], None]) -> Split:
    """Return the problems that the configuration asks for, saying what is left out of them."""
    options = config.dataset
    read = {"train": data.read(config.data, options.split, size=options.size, seed=options.seed, levels=options.levels)}
    train = read["train"].problems
    size, source = config.evaluation.size, config.evaluation.data
    if source:
        read["held_out"] = data.read(source, "test", size=size, seed=options.seed)
    elif data.has_test_split(config.data):
        read["held_out"] = data.read(config.data, "test", size=size, seed=options.seed, levels=options.levels)
    else:
        count = config.evaluation.holdout
        if count >= len(train):
            raise ConfigError(
                f"evaluation.holdout = {count} leaves nothing to train on: {config.data} has {len(train)} problems; "
                "set a smaller --evaluation.holdout, or --evaluation.data"
            )
        order = generator(options.seed, "holdout").permutation(len(train))
        held = set(order[:count].tolist())
        held_out = [train[i] for i in sorted(held)]
        train = [item for i, item in enumerate(train) if i not in held]
    for what, found in read.items():
        if found.left_out:
            say(f"{what.replace('_', '-')} data: {data.left_out_message(found)} (all of them in environment.json)")
    held_out = read["held_out"].problems if "held_out" in read else held_out
    questions = {item.question for item in held_out}
    shared = [item.id for item in train if item.question in questions]
    if shared:
        named = ", ".join(shared[:5]) + (" …" if len(shared) > 5 else "")
        say(f"{len(shared)} of {len(train)} training problems are held out too and are not trained on: {named}")
    if len(shared) == len(train):
        raise DataError(
            f"every training problem of {config.data} is also held out ({source or 'its test split'}); give other "
            "problems with --evaluation.data, or leave it out"
        )
    return Split(
        train=[item for item in train if item.question not in questions],
        held_out=held_out,
        shared=shared,
        left_out={what: [item.place for item in found.left_out] for what, found in read.items()},
        origin={what: dict(found.origin) for what, found in read.items()},
    )


def fit(
    prompted: list[Prompted], limit: int, what: str, say: Callable[[str], None]
) -> tuple[list[Prompted], list[str]]:
    """Return (prompts within `limit` tokens, ids of the others), saying what was left out."""
    short = [item for item in prompted if 0 < len(item.prompt_ids) <= limit]
    long = [item for item in prompted if not 0 < len(item.prompt_ids) <= limit]
    if long:
        longest = max(len(item.prompt_ids) for item in long)
        named = ", ".join(item.problem.id for item in long[:5]) + (" …" if len(long) > 5 else "")
        say(
            f"{len(long)} of {len(prompted)} {what} problems have prompts of more than {limit} tokens (up to {longest})"
            f" and are left out: {named} (all of them in environment.json)"
        )
    if not short:
        raise DataError(
            f"all {len(prompted)} {what} prompts are longer than {limit} tokens, which is the smaller of "
            "sampling.max_prompt_tokens and what sampling.max_new_tokens leaves of the model's context "
            f"(shortest {min(len(item.prompt_ids) for item in prompted)}); change these, or choose another template"
        )
    return short, [item.problem.id for item in long]


def make_prompts(
    split: Split, prompter: Prompter, policy: Policy, config: Config, say: Callable[[str], None]
) -> Prompts:
    """Return the prompts that leave room for a response in the model's context. Raises ConfigError where none does."""
    room = policy.context_length - config.sampling.max_new_tokens
    if room < 1:
        raise ConfigError(
            f"sampling.max_new_tokens = {config.sampling.max_new_tokens} leaves no room for a prompt in the context of "
            f"{config.model} ({policy.context_length} tokens)"
        )
    limit = min(config.sampling.max_prompt_tokens, room)
    if differing := difference(split.train, prompter, policy.tokenizer):
        say(differing)
    train, long_train = fit(prompt(split.train, prompter, policy), limit, "training", say)
    held_out, long_held_out = fit(prompt(split.held_out, prompter, policy), limit, "held-out", say)
    return Prompts(
        train=train,
        held_out=held_out,
        record={
            "data": {
                "train": {"problems": len(train), "sha256": fingerprint(train)},
                "held_out": {"problems": len(held_out), "sha256": fingerprint(held_out)},
                "left_out_too_long": {"train": long_train, "held_out": long_held_out},
                "left_out_held_out": split.shared,
                "left_out_no_gold": split.left_out,
            },
            "data_origin": split.origin,
        },
    )
