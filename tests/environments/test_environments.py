"""Environments: the calculator's arithmetic, classes of TRL's form, and a run in each as a user starts it."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from support import SMALL

import simplerl
from simplerl.config.resolve import build_config
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.environments import ENVIRONMENTS, environment_class, make_environment, search
from simplerl.environments.adapters import adapted, schema
from simplerl.environments.base import Environment, require_single_turn
from simplerl.environments.calculator import Calculator, value_of, written

PROBLEM = Problem(id="a", question="What does tea cost?", answer="3", source="test", meta={"prices": {"tea": 3}})
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", "7"),
        ("(1+2)*3/4", "2.25"),
        ("-7/3", "-7/3"),
        ("0.1+0.2", "0.3"),
        ("2**10", "1024"),
        ("2**-2", "0.25"),
        ("-0.05", "-0.05"),
        ("0.12345678901234567890", "0.1234567890123456789"),
        ("9999*9999", "99980001"),
        (" 6 * 7 ", "42"),
    ],
)
def test_the_calculator_is_exact(text: str, value: str) -> None:
    result = written(value_of(text))
    assert result == value or Fraction(result) == Fraction(value)
    turn = Calculator().step(PROBLEM, None, f"so <<{text}>>", RNG)
    assert (turn.observation, turn.done, turn.calls[0].status) == (f"={result}", False, "ok")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "2**9999", "9**9**9", "9**9**9**9", "1/0", "0**-1", "1e99", "0x10", "1_0",
        "True", "1j", "", " ", "1+", "(" * 150, "()", "1,2", "x", "1" * 500, "2**0.5", "(-8)**(1/3)", "1\n+2", "'a'*9",
        "1 if 1 else 2", "1//2",
    ],
)  # fmt: skip
def test_what_is_not_arithmetic_is_an_invalid_call(text: str) -> None:
    turn = Calculator().step(PROBLEM, None, f" <<{text}>>", RNG)
    assert (turn.observation, turn.done, turn.calls[0].status) == ("=error", False, "invalid")
    assert turn.calls[0].result


def test_a_turn_without_a_call_is_the_last() -> None:
    assert Calculator().step(PROBLEM, None, " \\boxed{1}", RNG).done
    assert Calculator().step(PROBLEM, None, " 1>>", RNG).calls[0].status == "invalid"


class Shop:
    """An environment of TRL's form."""

    def reset(self, prices, question, answer):
        self.prices, self.bought = prices, False

    def price(self, item: str) -> str:
        """Return the price of an item."""
        self.bought = True
        if item not in self.prices:
            raise ValueError(f"there is no {item}")
        return str(self.prices[item])

    def crash(self) -> str:
        """Fail."""
        raise OSError("gone")

    def get_reward(self) -> float:
        return float(self.bought)


def call(environment: Environment, state, text: str):
    return environment.step(PROBLEM, state, f"<tool_call>{text}</tool_call>", RNG)


def test_classes_of_trls_form_are_environments() -> None:
    environment = adapted(Shop, "shop.py:Shop")()
    asked = environment.problem(PROBLEM, RNG).question
    assert '"name": "price"' in asked
    assert "Return the price of an item." in asked
    assert "get_reward" not in asked
    assert asked.endswith(PROBLEM.question)
    state = environment.start(PROBLEM, RNG)
    assert environment.judge(PROBLEM, state, "").status == "wrong"
    turn = call(environment, state, '{"name": "price", "arguments": {"item": "tea"}}')
    assert turn.observation == "\n<tool_response>\n3\n</tool_response>\n"
    verdict = environment.judge(PROBLEM, state, "")
    assert (verdict.status, verdict.score) == ("correct", 1.0)
    for text, status, words in (
        ('{"name": "pric", "arguments": {}}', "invalid", "did you mean 'price'"),
        ('{"name": "price", "arguments": {"thing": "tea"}}', "invalid", "missing a required argument"),
        ('{"name": "price", "arguments": {"item": "sand"}}', "error", "there is no sand"),
        ('{"name": "_secret"}', "invalid", "unknown tool"),
        ('{"name": "reset"}', "invalid", "unknown tool"),
        ("not JSON", "invalid", "JSON"),
        ("[1]", "invalid", "JSON"),
    ):
        turn = call(environment, state, text)
        assert turn.calls[0].status == status, text
        assert words in turn.observation, text
    assert environment.step(PROBLEM, state, "It is 3.", RNG).done
    with pytest.raises(OSError, match="gone"):
        call(environment, state, '{"name": "crash"}')
    assert schema("price", Shop.price)["parameters"]["required"] == ["item"]

    def tool(self, a: "int", b: "list[str]", c: "float | None" = None, d: bool = True, e=1, **more): ...

    kinds = {name: each["type"] for name, each in schema("tool", tool)["parameters"]["properties"].items()}
    assert kinds == {"a": "integer", "b": "array", "c": "number", "d": "boolean", "e": "string"}


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        ("so <code>print(6*7)</code>", "42", "ok"),
        ("<code>\n```python\nprint(6*7)\n```\n</code>", "42", "ok"),
        ("<code>print(1)\n1/0</code>", "1\nZeroDivisionError: division by zero", "error"),
        ("<code>while True: pass</code>", "TimeoutError: more than 0.5 s", "timeout"),
        ("<code>import socket; socket.socket()</code>", "PermissionError", "error"),
        ("print(6*7)</code>", "a call looks like", "invalid"),
    ],
)
def test_the_interpreter_runs_programs_in_the_sandbox(text: str, said: str, status: str) -> None:
    limit = 0.5 if status == "timeout" else 30  # On a busy machine a program begins late.
    environment = make_environment({"name": "python", "code_seconds": limit})
    environment.start(PROBLEM, RNG)
    turn = environment.step(PROBLEM, None, text, RNG)
    assert turn.observation.startswith(f"\n<interpreter>\n{said}")
    assert turn.observation.endswith("\n</interpreter>\n")
    assert (turn.calls[0].status, turn.done) == (status, False)


def test_search_gives_the_passages_that_fit(tmp_path) -> None:
    pytest.importorskip("bm25s", reason="needs bm25s: pip install 'simplerl[search]'")
    rows = [
        {"title": "France", "text": "The capital of France is Paris."},
        {"title": "Tea", "text": "Tea is a drink."},
        {"title": "Italy", "text": "The capital of Italy is Rome."},
    ]
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = make_environment({"name": "search", "corpus": str(file), "passages": 2})
    state = environment.start(PROBLEM, RNG)
    turn = environment.step(PROBLEM, state, "I look: <search>capital of France</search>", RNG)
    assert turn.observation.splitlines()[1:4] == [
        "<information>", "France: The capital of France is Paris.", "Italy: The capital of Italy is Rome."
    ]  # fmt: skip
    assert "nothing found" in environment.step(PROBLEM, state, "<search>zebra</search>", RNG).observation
    assert environment.step(PROBLEM, state, "<search> </search>", RNG).calls[0].status == "invalid"
    assert environment.step(PROBLEM, state, "It is Paris.", RNG).done
    with pytest.raises(ConfigError, match="needs a corpus"):
        make_environment({"name": "search"}).start(PROBLEM, RNG)
    file.write_text('{"words": "x"}\n')
    with pytest.raises(DataError, match="no passage"):
        make_environment({"name": "search", "corpus": str(tmp_path / "." / "corpus.jsonl")}).step(
            PROBLEM, search.load.__wrapped__(str(file)), "<search>x</search>", RNG
        )


def test_what_is_no_environment_is_refused() -> None:
    class Half:
        def rest(self):
            """Not quite."""

    with pytest.raises(ConfigError, match="did you mean 'rest'"):
        adapted(Half, "half.py:Half")
    with pytest.raises(ConfigError, match="not a class"):
        adapted(len, "half.py:len")
    with pytest.raises(ConfigError, match="did you mean 'calculator'"):
        environment_class("calculater")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "calculator", "max_turns": 0}, "environment.max_turns must be positive"),
        ({"name": "single-turn", "max_seconds": 0}, "environment.max_seconds must be positive"),
        ({"name": "forced-end", "thinking_tokens": 0}, "environment.thinking_tokens must be positive"),
        ({"name": "forced-end", "phrase": ""}, "environment.phrase = '': String should have at least 1 character"),
        ({"name": "code", "score": "some"}, "environment.score must be one of all, fraction; got 'some'"),
        ({"name": "python", "memory_mb": 0}, "environment.memory_mb must be positive"),
        ({"name": "openenv", "lowest": 1.0}, "environment.lowest 1.0 must be below"),
    ],
)
def test_settings_are_checked(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_config({"environment": table})


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_is_frozen_and_described(name: str) -> None:
    cls = ENVIRONMENTS[name]
    assert issubclass(cls, Environment)
    assert cls.__doc__
    assert hash(cls()) == hash(cls())


def test_what_knows_a_single_turn_refuses_others() -> None:
    require_single_turn(ENVIRONMENTS["single-turn"](), "simplerl sample")
    with pytest.raises(ConfigError, match="simplerl sample knows responses of a single turn only, and Calculator"):
        require_single_turn(Calculator(), "simplerl sample")


def test_a_class_from_python_trains_and_evaluates(tmp_path) -> None:
    rows = [{"question": f"What does tea cost? {i}", "answer": "3", "prices": {"tea": 3}} for i in range(20)]
    settings = {key: value for key, value in SMALL.items() if key not in ("model", "dataset", "steps")}
    run = simplerl.train(
        "cub", model="cub-qwen", data=rows, environment=Shop, steps=1, output_dir=tmp_path / "run", quiet=True,
        settings=settings,
    )  # fmt: skip
    assert run.finished
    assert "Shop" in run.config["environment"]["name"]
    last = run.metrics.to_pylist()[-1]
    assert last["environment/turns"] >= 1
    assert run.responses(1).column("calls").null_count == 0
