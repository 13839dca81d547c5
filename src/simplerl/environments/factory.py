"""Environments of others, as they are: a class of TRL's form (`environment_factory`), whose public methods are tools.

    class Shop:
        def reset(self, **columns): ...        # a new episode
        def price(self, item: str) -> str: ... # a tool, which the model sees with its docstring
        def get_reward(self) -> float: ...     # optional: what the episode has earned, 0 to 1

A call is `<tool_call>{"name": "price", "arguments": {"item": "tea"}}</tool_call>`, the form that Qwen's and Hermes's
chat templates teach. `--environment file.py:Class` or `module:Class` names one.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from simplerl.core.errors import ConfigError, nearest
from simplerl.core.types import Call, Problem, Turn, Verdict
from simplerl.environments.agent import agent_environment, checked_reward, earned
from simplerl.environments.base import METHODS, Environment

#: Methods of TRL's form that are no tools.
OWN = ("reset", "get_reward")
OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, kw_only=True)
class FactoryEnvironment(Environment):
    """Makes an object of a class for every episode and calls its methods as tools."""

    factory: ClassVar[Callable[[], Any]]
    source: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = (CLOSE,)

    show_tools: bool = True
    """Put the tools, as JSON schemas, before the question."""

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        """Return the problem with the tools explained before it."""
        if not self.show_tools:
            return problem
        tools = self._tools(type(self).factory)
        schemas = "\n".join(json.dumps(schema(name, method)) for name, method in tools.items())
        form = f'{OPEN}{{"name": …, "arguments": {{…}}}}{CLOSE}'
        return replace(problem, question=f"Tools:\n{schemas}\nCall one by {form}\n\n{problem.question}")

    @staticmethod
    def _tools(target: Any) -> dict[str, Callable[..., Any]]:
        methods = inspect.getmembers(target, inspect.isroutine)
        return {name: method for name, method in methods if not name.startswith("_") and name not in OWN}

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return an object that has been reset with the columns of the data that it takes."""
        state = type(self).factory()
        columns = {**problem.meta, "question": problem.question, "answer": problem.answer}
        parameters = inspect.signature(state.reset).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            columns = {p.name: columns[p.name] for p in parameters if p.name in columns}
        state.reset(**columns)
        return state

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Call the tool that a turn ends with; without a call the episode is over."""
        if not text.endswith(CLOSE):
            return Turn()
        asked = text.removesuffix(CLOSE).rpartition(OPEN)[2].strip()
        tools = self._tools(state)
        try:
            wanted = json.loads(asked)
            name, arguments = wanted["name"], wanted.get("arguments", {})
            if name not in tools:
                return _answer(str(name), asked, f"unknown tool {name!r}; {nearest(str(name), tools)}", "invalid")
            inspect.signature(tools[name]).bind(**arguments)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return _answer("", asked, f"a call is JSON with a name and arguments ({error})", "invalid")
        try:
            return _answer(name, asked, str(tools[name](**arguments)), "ok")
        except ValueError as error:  # TRL's convention: the model is told, and may try again.
            return _answer(name, asked, f"error: {error}", "error")

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return the verdict that the object's reward stands for; None where it has none."""
        if not hasattr(state, "get_reward"):
            return None
        return earned(checked_reward(float(state.get_reward()), "what get_reward returns"))


def _answer(tool: str, asked: str, result: str, status: Any) -> Turn:
    call = Call(tool=tool, arguments=asked, result=result, status=status)
    return Turn(observation=f"\n<tool_response>\n{result}\n</tool_response>\n", done=False, calls=(call,))


def schema(name: str, method: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a tool, from its signature and docstring."""
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean"}
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
    return {
        "name": name,
        "description": (inspect.getdoc(method) or "").strip(),
        "parameters": {
            "type": "object",
            "properties": {p.name: {"type": kinds.get(p.annotation, "string")} for p in parameters},
            "required": [p.name for p in parameters if p.default is p.empty],
        },
    }


def adapted(value: Any, name: str) -> type[Environment]:
    """Return a class as an environment: one of ours as it is, one of TRL's form in an adapter.

    Raises ConfigError for anything else, naming the method that is nearest to a missing one.
    """
    if inspect.isroutine(value) and {"base_url", "api_key"} <= set(inspect.signature(value).parameters):
        return agent_environment(value, name)
    if not inspect.isclass(value):
        raise ConfigError(
            f"environment {name}: it is {value!r}, not a class, or a function (base_url, api_key, problem)"
        )
    if issubclass(value, Environment):
        return value
    if callable(getattr(value, "reset", None)):
        return dataclass(frozen=True, kw_only=True)(
            type(value.__name__, (FactoryEnvironment,), {"factory": value, "source": name, "__doc__": value.__doc__})
        )
    own = [method for method in vars(value) if not method.startswith("_")]
    missing = f"{value.__name__} has no method 'reset'" + (f"; {nearest('reset', own)}" if own else "")
    raise ConfigError(
        f"environment {name}: {missing}. A class of TRL's form has it, "
        f"or is a subclass of simplerl.environments.base.Environment ({', '.join(METHODS)})"
    )
