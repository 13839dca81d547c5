"""Before any money is spent: how a base model takes to each prompt template, and which problems it can learn from.

The template is the greatest confounder of zero RL: the same model may score 5% or 50%. Measured are accuracy, boxes,
run-on (text that goes on after the answer) and truncation under each template, on the same problems with the same
sampling as in training; recommended are template, stop strings and difficulty tier.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Problem
from simplerl.data import making
from simplerl.data.prompts import Prompter
from simplerl.evaluate.figures import figures
from simplerl.evaluate.run import fits
from simplerl.models.load import Policy
from simplerl.rollout.groups import Rollout, begin_notice, prompt
from simplerl.runs.responses import Answer, answers_of, by_problem
from simplerl.verify import extract
from simplerl.verify.extract import boxes

#: Levels of each tier of SimpleRL-Zoo (its Easy has GSM8K beside level 1).
TIERS = {name: set(levels) for name, (_, levels, _) in making.TIERS.items()}
#: Words after the answer from which on a response runs on.
RUN_ON_WORDS = 20
#: A line opener is a stop string to recommend if it stands in this share of the run-on responses.
OPENER_SHARE = 0.2
_OPENER = re.compile(r"\n\s*([A-Z#<][^\s:]{0,24}:?)")


def after_answer(text: str) -> str | None:
    """Return what follows the first box; None where there is no box."""
    closed = boxes(text)
    return text[closed[0].end :] if closed else None


def runs_on(text: str) -> bool:
    """Return whether a response goes on after its answer: many words, or another answer."""
    rest = after_answer(text)
    return rest is not None and (len(rest.split()) >= RUN_ON_WORDS or extract(rest) is not None)


def openers(texts: Sequence[str]) -> dict[str, float]:
    """Return line openers after the first answer of run-on responses → the share of these responses that have them."""
    running = [after_answer(text) or "" for text in texts if runs_on(text)]
    counts = Counter(opener for rest in running for opener in set(_OPENER.findall(rest)))
    return {opener: count / len(running) for opener, count in counts.most_common(20)}


def choose(problems: Sequence[Problem], size: int, seed: int) -> list[Problem]:
    """Return a sample of the problems, the levels as evenly as they allow, in a fixed order."""
    by_level = defaultdict[str, list[Problem]](list)
    for index in generator(seed, "preflight").permutation(len(problems)).tolist():
        by_level[problems[index].level].append(problems[index])
    # The last of each level first, in rounds over the levels.
    rounds = itertools.zip_longest(*(reversed(by_level[level]) for level in sorted(by_level)))
    return [problem for members in rounds for problem in members if problem is not None][:size]


def measure(
    problems: Sequence[Problem],
    prompter: Prompter,
    policy: Policy,
    rollout: Rollout,
    on_done: Callable[[Completion], None],
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Return what one template does, measured on the problems whose prompts leave room for a response.

    `say` is told where the model would rather have its prompts begin in another way.
    """
    prompted = prompt(problems, prompter, policy)
    if notice := begin_notice(problems, prompter, policy):
        say(notice)
    fitting = [item for item in prompted if fits(item, policy)]
    if not fitting:
        return {"left_out": len(prompted), "measured": 0}
    answers = answers_of(rollout.sample_groups(fitting, purpose="preflight", step=0, on_response=on_done))
    texts = [answer.response for answer in answers]
    figure = figures(answers)
    return {
        "left_out": len(prompted) - len(fitting),
        "measured": len(fitting),
        **{name: figure[name] for name in ("acc", "any_correct", "tokens", "by_level")},
        "boxed": figure["box_ratio"],
        "truncated": figure["clip_ratio"],
        "run_on": sum(map(runs_on, texts)) / len(texts),
        "openers": openers(texts),
        "mixed": sum(map(_mixed, by_problem(answers).values())) / len(fitting),
        "mixed_by_level": mixed_by_level(answers),
        "example": texts[0],
    }


def _mixed(samples: Sequence[Answer]) -> bool:
    return len({answer.correct for answer in samples if answer.decided}) == 2


def mixed_by_level(answers: Sequence[Answer]) -> dict[str, float]:
    """Return level → the share of its problems that have right and wrong samples."""
    levels = defaultdict[str, list[bool]](list)
    for samples in by_problem(answers).values():
        levels[samples[0].level].append(_mixed(samples))
    return {level: sum(mixed) / len(mixed) for level, mixed in sorted(levels.items()) if level}


def recommend(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the template, stop strings and tier to train with, and why.

    Template: the highest accuracy; among those whose intervals reach it, the one with the most boxes, because only a
    box is rewarded. Stops: what opens a line after the answer in a fifth of the run-on responses. Tier: the one with
    the largest share of problems that have right and wrong samples, which alone teach a group method anything.
    """
    readable = {name: one for name, one in measured.items() if one["measured"]}
    usable = {name: one for name, one in readable.items() if one["acc"]["problems"]}
    if not usable:
        why = "no response could be judged: check the golds (simplerl audit)"
        return {"template": None, "why": why if readable else "no prompt leaves room for a response in the context"}
    best = max(one["acc"]["value"] for one in usable.values())
    rivals = {name: one for name, one in usable.items() if one["acc"]["high"] >= best}
    template = max(rivals, key=lambda name: (rivals[name]["boxed"]["value"], rivals[name]["acc"]["value"]))
    chosen = usable[template]
    stops = [opener for opener, share in chosen["openers"].items() if share >= OPENER_SHARE][:5]
    levels = chosen["mixed_by_level"]
    shares = {
        tier: sum(levels[level] for level in members & levels.keys()) / len(members & levels.keys())
        for tier, members in TIERS.items()
        if members & levels.keys() and set(levels) <= set("12345")
    }
    tier = max(shares, key=shares.__getitem__) if shares else None
    advice = []
    if chosen["acc"]["value"] == 0:
        advice.append("no response was right: nothing can be learned here; take easier problems or a stronger model")
    if chosen["boxed"]["value"] < 0.05:
        advice.append("hardly any response has a box: only boxed answers are rewarded (verifier.policy)")
    if chosen["truncated"]["value"] > 0.2:
        advice.append("many responses are truncated: raise sampling.max_new_tokens, or set stop strings")
    return {
        "template": template,
        "stop": stops,
        "tier": tier,
        "tiers": shares,
        "why": f"{len(rivals)} of {len(usable)} templates reach the highest accuracy; {template!r} boxes most of them",
        "advice": advice,
    }
