"""What runs inside the sandbox beside a program whose functions are tested: standard library only, sent as text.

Two interpreters talk, a JSON line for each call and for each answer. `serve` runs with the program and calls what it is
asked to; it may say what it likes, as it shares its interpreter with the program. `test` runs elsewhere, with the
tests, and compares: only values cross, rebuilt from plain data, so that no `==` of the program's own is ever asked.
"""

from __future__ import annotations

import builtins
import collections
import functools
import importlib
import importlib.machinery
import itertools
import json
import os
import sys

TYPE_CHECKING = False  # What need not be imported is not: it takes longer than most programs.
if TYPE_CHECKING:
    import ast
    import symtable
    from collections.abc import Callable
    from typing import IO, Any

#: Items of an iterator, and characters of one line, that are taken.
ITEMS, LINE = 100_000, 8 << 20
CONTAINERS: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
#: Name of a type → its module. Their values are written as texts.
NUMBERS = {"complex": "builtins", "Fraction": "fractions", "Decimal": "decimal"}
LISTED: tuple[type[Any], ...] = (collections.deque, range, *map(type, ({}.keys(), {}.values(), {}.items())))


def pack(value: Any) -> Any:
    """Return a value as plain data. Raises TypeError for what is not made of numbers, texts and containers."""
    if value is None or isinstance(value, bool | float):
        return value if value is None or isinstance(value, bool) else float(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else {"int": hex(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if isinstance(value, LISTED) or hasattr(value, "__next__"):
        return {"list": [pack(item) for item in itertools.islice(value, ITEMS)]}
    for name, kind in CONTAINERS.items():
        if isinstance(value, kind):
            return {name: [pack(item) for item in value]}
    if type(value).__name__ in NUMBERS:
        return {type(value).__name__: str(value)}
    raise TypeError(f"a {type(value).__name__} cannot be compared")


def unpack(data: Any) -> Any:
    """Return the value of plain data, all of built-in types. Raises ValueError or TypeError for anything else."""
    if not isinstance(data, dict):
        return data
    ((name, content),) = data.items()
    if name == "int":
        return int(content, 16)
    if name == "bytes":
        return bytes.fromhex(content)
    if name == "dict":
        return {unpack(key): unpack(item) for key, item in content}
    if name in CONTAINERS:
        return CONTAINERS[name](map(unpack, content))
    return getattr(importlib.import_module(NUMBERS[name]), name)(content)


def channel() -> tuple[IO[str], IO[str]]:
    """Return (what the other side says, what we say), and leave nothing in their places for print and input."""
    hear, say = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    return hear, say


# --- with the program -----------------------------------------------------------------------------------------------


def serve() -> None:
    """Import the program (`/solution.py`) and call what is asked for, until nobody asks any more."""
    hear, say = channel()
    sys.path.insert(0, "/")
    failure = None
    try:
        solution: Any = importlib.import_module("solution")
    except BaseException as error:  # SystemExit too: every call is answered by it.
        failure = error
    for line in hear:
        name, arguments, named = unpack(json.loads(line))
        try:
            if failure is not None:
                raise failure
            methods = not hasattr(solution, name) and hasattr(solution, "Solution")  # Of a class of that name.
            answer = {"value": pack(getattr(solution.Solution() if methods else solution, name)(*arguments, **named))}
        except BaseException as error:
            answer = {"error": type(error).__name__, "message": str(error)[:300]}
        print(json.dumps(answer), file=say, flush=True)


# --- with the tests -------------------------------------------------------------------------------------------------


class Ended(BaseException):
    """The program's interpreter answers no more, or no further test is wanted."""


class Tests:
    """The tests' side: what passed, what did not, and the first that did not."""

    def __init__(self, only_all: bool):
        self.hear, self.say = channel()
        self.report = os.fdopen(os.dup(2), "w", encoding="utf-8")
        os.dup2(1, 2)
        self.only_all, self.passed, self.failed, self.first, self.last = only_all, 0, 0, "", ""

    def ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Return what a function of the program returns. Raises what it raises, where that is a built-in exception."""
        print(json.dumps(pack((name, arguments, named))), file=self.say, flush=True)
        line = self.hear.readline(LINE)
        if not line.endswith("\n"):
            raise Ended("the program ended, or said too much" if line else "the program ended")
        answer = json.loads(line)
        if "error" in answer:
            kind = getattr(builtins, str(answer["error"]), None)
            # The end of an iteration would end `all(map(f, …))` as if every call were right.
            known = isinstance(kind, type) and issubclass(kind, Exception) and "Iteration" not in kind.__name__
            self.last = f"{answer['error']}: {answer['message']}"
            raise (kind if known else RuntimeError)(self.last)  # type: ignore[misc]
        value = unpack(answer["value"])
        self.last = (
            f"{name} returned {str(value)[:300]!r}" if isinstance(value, str) else f"{name} returned {value}"[:300]
        )
        return value

    def check(self, test: Callable[[], Any], text: str) -> None:
        """Take the outcome of one test."""
        self.last = ""
        try:
            good = bool(test())
        except Exception as error:
            good, self.last = False, self.last or f"{type(error).__name__}: {str(error)[:300]}"
        except Ended as error:
            good, self.last = False, str(error)
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        if not good:
            self.first = self.first or f"{text[:1000]}\n{self.last}"
            if self.only_all or self.last.startswith("the program ended"):
                raise Ended(self.last)

    def case(self, name: str, arguments: list[Any], accepted: list[Any]) -> None:
        """Test one call: lists and tuples are the same."""
        text = f"{name}({', '.join(map(repr, arguments))}) must be {accepted[0]!r}"
        self.check(lambda: listed(self.ask(name, *arguments)) in map(listed, accepted), text)


def listed(value: Any) -> Any:
    """Return a value with lists for its tuples."""
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


class Names(dict[str, "Any"]):
    """The built-in names of the tests. One that neither they nor Python define is a module of the standard library, or
    the program's; one that they define and that is not there, because the program has raised before, is neither."""

    def __init__(self, ask: Callable[..., Any], own: set[str]):
        super().__init__(vars(builtins))
        self.ask, self.own = ask, own

    def __missing__(self, name: str) -> Any:
        if name in self.own:
            raise KeyError(name)
        is_module = name in sys.stdlib_module_names
        return importlib.import_module(name) if is_module else functools.partial(self.ask, name)


def bound(table: symtable.SymbolTable) -> set[str]:
    """Return the names that a module and whatever is in it bind, parameters apart."""
    own = {each.get_name() for each in table.get_symbols() if each.is_assigned()}
    return own.union(*map(bound, table.get_children()))


def test(only_all: bool) -> None:
    """Run the tests (`/setup.py`, `/tests.py`) and write what came of them on standard error, as JSON."""
    import ast
    import symtable

    class Asserts(ast.NodeTransformer):
        """Makes each assertion a call of `_check`."""

        def visit_Assert(self, node: ast.Assert) -> ast.stmt:
            (call,) = ast.parse("_check(lambda: 0, '')").body
            call.value.args[0].body = node.test  # type: ignore[attr-defined]
            call.value.args[1].value = ast.unparse(ast.Assert(node.test))  # type: ignore[attr-defined]
            return call

    tests, trees, own = Tests(only_all), list[ast.Module](), set[str]()
    for name in ("setup", "tests"):
        with open(f"/{name}.py", encoding="utf-8") as file:
            source = file.read()
        try:
            trees.append(ast.parse(source))
        except SyntaxError:  # A prompt may end with the head of a function.
            source = f"{source}\n    pass\n"
            trees.append(ast.parse(source))
        own |= bound(symtable.symtable(source, name, "exec"))
    wanted = sum(isinstance(node, ast.Assert) for node in ast.walk(trees[1]))
    trees[1] = Asserts().visit(trees[1])
    running = sys.modules["running"] = type(sys)("running")
    vars(running).update(_check=tests.check, case=tests.case, program=lambda name: functools.partial(tests.ask, name))
    vars(running)["__builtins__"] = Names(tests.ask, own)
    try:
        for name, tree in zip(("setup", "tests"), trees, strict=True):
            with open(f"/tmp/{name}.py", "w", encoding="utf-8") as file:
                file.write(ast.unparse(ast.fix_missing_locations(tree)))
            importlib.machinery.SourceFileLoader("running", f"/tmp/{name}.py").exec_module(running)
    except BaseException as error:
        if not (isinstance(error, Ended) and tests.failed):  # Outside an assertion nobody else has counted it.
            tests.failed, tests.first = tests.failed + 1, tests.first or f"{type(error).__name__}: {str(error)[:300]}"
    done = {"passed": tests.passed, "failed": tests.failed, "wanted": wanted, "first": tests.first}
    print(json.dumps(done), file=tests.report, flush=True)
    os._exit(0)
