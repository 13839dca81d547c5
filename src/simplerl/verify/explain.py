"""An explanation of one judgement, step by step, for the command line."""

from __future__ import annotations

from simplerl.types import Verdict
from simplerl.verify.extract import POLICIES, final_part
from simplerl.verify.judge import RULES
from simplerl.verify.nodes import Node
from simplerl.verify.numbers import number
from simplerl.verify.reading import reading, unbox

_MAX_SHOWN = 100


def _shown(text: str) -> str:
    text = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _kind(text: str) -> str:
    """What a text was read as."""
    if len(text) > 2_000:
        return "too long to be read"
    read = reading(text)
    value = number(read.normal)
    if value is not None:
        return f"the number {_shown(str(value))}"
    if read.node is None:
        return f"not read as mathematics ({read.problem}); its text still counts"
    return _name(read.node)


def _name(node: Node) -> str:
    parts = len(node.args)
    names = {
        "list": f"a list of {parts}", "set": f"a set of {parts}", "union": f"a union of {parts}", "text": "words",
        "seq": f"a tuple or interval {node.name} of {parts}", "matrix": f"a matrix of {parts} rows",
        "rel": f"a relation ({node.name})", "ratio": "a ratio", "time": "a clock time", "base": "a number in a base",
        "both": "one answer in two forms", "unit": f"a quantity in {node.name}", "percent": "a percentage",
        "degree": "an angle in degrees", "opaque": "an expression that is never expanded",
    }  # fmt: skip
    return names.get(node.op, "an expression")


def explain(response: str, gold: str, policy: str, verdict: Verdict) -> list[tuple[str, str]]:
    """Return the steps as (name, text): what was looked at, found, understood and decided, and by which rule."""
    part = final_part(response)
    steps = [("response", f"{len(response)} characters" + (f", of which the last part, {len(part)}, counts"
                                                             if len(part) != len(response) else ""))]  # fmt: skip
    answer = POLICIES[policy](part)
    steps.append(("policy", policy))
    steps.append(("answer", "none found" if answer is None else _shown(answer)))
    if answer is not None and len(answer) <= 2_000:
        steps.append(("  normal", _shown(reading(answer).normal)))
        steps.append(("  read as", _kind(answer)))
    bare = unbox(gold)
    steps.append(("gold", _shown(gold) or "empty"))
    if bare.strip() and len(bare) <= 2_000:
        steps.append(("  normal", _shown(reading(bare).normal)))
        steps.append(("  read as", _kind(bare)))
    steps.append(("rule", f"{verdict.rule}: {RULES.get(verdict.rule, '')}"))
    steps.append(("why", verdict.detail))
    steps.append(("verdict", verdict.status))
    return steps
