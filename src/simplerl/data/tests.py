"""Unit tests in rows: the field names of APPS, TACO, PRIME, LiveCodeBench, HumanEval and MBPP, and our own.

A problem with tests has in its `meta`:
- `tests`: {"inputs": [text, …], "outputs": [text, …]}, of programs that read and write; or {"setup": text, "code":
  text}, assertions that call functions of the program; with `prefix` what stands before it (a prompt to be completed).
- `environment`: "code", which judges it wherever the run's own environment does not.
- `reference`: the program that the row holds as right, where there is one.

Data files are hostile: what they hold is read as JSON or as text, and runs in the sandbox only.
"""

import base64
import hashlib
import json
import pickletools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simplerl.data.fields import FIELDS, UnreadableRow, as_text, first_text, is_empty, messages

#: What is read here, so that it is not handed on twice.
TEST_FIELDS = {*FIELDS["reference"], *FIELDS["tests"], "answer"}
#: Most that a compressed field may hold.
_MOST_BYTES = 256 << 20


def tests_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tests of a row, or None where it has none. Raises UnreadableRow for what cannot be read as tests."""
    scored = fields.get("reward_model")
    truth = scored.get("ground_truth") if isinstance(scored, Mapping) else None
    if isinstance(truth, str) and truth.lstrip().startswith("{") and '"inputs"' in truth:
        return _apps(_json(truth, "reward_model.ground_truth"), "reward_model.ground_truth")
    if not is_empty(fields.get("input_output")):
        return _apps(_json(fields["input_output"], "input_output"), "input_output")
    if not is_empty(fields.get("public_test_cases")):
        return _live_code_bench(fields)
    if isinstance(fields.get("test"), str) and isinstance(fields.get("entry_point"), str):
        prompt, entry = as_text(fields.get("prompt")) or "", fields["entry_point"]
        return {
            "setup": prompt,
            "code": f"{entry} = program({entry!r})\n{fields['test']}\ncheck({entry})\n",
            "prefix": prompt,
        }
    if not is_empty(fields.get("test_list")):
        lines = [
            *_texts(fields["test_list"], "test_list"),
            *_texts(fields.get("challenge_test_list") or [], "challenge_test_list"),
        ]
        imports = fields.get("test_imports") or fields.get("test_setup_code") or ""
        setup = imports if isinstance(imports, str) else "\n".join(_texts(imports, "test_imports"))
        return {"setup": setup, "code": "\n".join(lines)}
    if not is_empty(fields.get("tests")):
        tests = _json(fields["tests"], "tests")
        if isinstance(tests, Mapping):
            return _own({name: value for name, value in tests.items() if not is_empty(value)})
        if isinstance(tests, list) and all(isinstance(test, str) for test in tests):
            return {"setup": as_text(fields.get("setup")) or "", "code": "\n".join(tests)}
        return _pairs(tests, "tests")
    return None


def question_with_tests(fields: Mapping[str, Any], tests: Mapping[str, Any]) -> str:
    """Return what is asked: the text, the code to start from, and of assertions the first, which names the function."""
    names = (*FIELDS["question"], "question_content", "text", "description")
    question = first_text(fields, names)[1] or next((c for role, c in reversed(messages(fields)) if role == "user"), "")
    if not question.strip():
        raise UnreadableRow(f"no question; wanted one of {', '.join(names)} with text in it")
    starter = as_text(fields.get("starter_code")) or ""
    if starter.strip() and starter.strip() not in question:
        question = f"{question.rstrip()}\n\nStart from this code:\n{starter.rstrip()}"
    if not is_empty(fields.get("test_list")):
        question = f"{question.rstrip()}\nYour code should pass this test:\n{tests['code'].splitlines()[0]}"
    return question


def reference_of(fields: Mapping[str, Any]) -> str:
    """Return the program that a row holds as right; empty where there is none. Of several it is the first."""
    for name in FIELDS["reference"]:
        value = fields.get(name)
        if isinstance(value, str) and value.lstrip().startswith('["'):
            value = _json(value, name)
        if isinstance(value, list | tuple):
            value = next((item for item in value if isinstance(item, str) and item.strip()), "")
        if isinstance(value, str) and value.strip():
            return value
    return ""


def named(tests: Mapping[str, Any]) -> str:
    """Return how tests stand in a record as the gold: how many, and which."""
    number = len(tests["inputs"]) if "inputs" in tests else tests["code"].count("assert") + tests["code"].count("case(")
    digest = hashlib.sha256(json.dumps(tests, sort_keys=True).encode()).hexdigest()
    return f"{number} unit tests, sha256 {digest[:12]}"


def _own(tests: dict[str, Any]) -> dict[str, Any]:
    """Return tests as `simplerl data` writes them."""
    if {"inputs", "outputs"} <= tests.keys():
        return _apps({name: tests[name] for name in ("inputs", "outputs")}, "tests")
    if not isinstance(tests.get("code"), str) or not all(isinstance(text, str) for text in tests.values()):
        raise UnreadableRow("'tests' must have 'inputs' and 'outputs', or 'setup' and 'code'")
    return {"setup": "", **{name: tests[name] for name in ("setup", "code", "prefix") if name in tests}}


def _json(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableRow(f"{name!r} holds no tests: it is not valid JSON ({error})") from error


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UnreadableRow(f"{name!r} must be a list of texts, got {str(value)[:60]!r}")
    return list(value)


def _apps(table: Any, name: str) -> dict[str, Any]:
    """Return the tests of `inputs`, `outputs` and maybe `fn_name`; a list of lines is a text."""
    ins, outs = (table.get(key) if isinstance(table, Mapping) else None for key in ("inputs", "outputs"))
    if not isinstance(ins, list) or not isinstance(outs, list) or not ins or len(ins) != len(outs):
        raise UnreadableRow(f"{name!r} must have as many 'inputs' as 'outputs', and at least one")
    if function := table.get("fn_name"):
        # Some outputs are a list of the one value that is returned.
        accepted = ([out, *(out if isinstance(out, list) and len(out) == 1 else ())] for out in outs)
        return _calls(function, zip(ins, accepted, strict=True), name)
    joined = [["\n".join(map(str, text)) if isinstance(text, list) else text for text in part] for part in (ins, outs)]
    return _pairs([{"input": i, "output": o} for i, o in zip(*joined, strict=True)], name)


def _pairs(tests: Any, name: str) -> dict[str, Any]:
    """Return the tests of a list of {"input": text, "output": text}."""
    pairs = [(test.get("input"), test.get("output")) for test in tests if isinstance(test, Mapping)] if tests else []
    if not pairs or not isinstance(tests, list) or len(pairs) < len(tests):
        raise UnreadableRow(f"{name!r} must be a list of objects with 'input' and 'output', or of assertions")
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise UnreadableRow(f"{name!r}: 'input' and 'output' of a test must be texts")
    return {"inputs": [i for i, _ in pairs], "outputs": [o for _, o in pairs]}


def _calls(function: Any, cases: Iterable[tuple[Any, Sequence[Any]]], name: str) -> dict[str, Any]:
    """Return calls and what they must return as code of tests."""
    lines = [f"case({function!r}, {arguments!r}, {list(accepted)!r})" for arguments, accepted in cases]
    if not isinstance(function, str) or not function.isidentifier():
        raise UnreadableRow(f"{name!r}: the function's name must be a name, got {str(function)[:60]!r}")
    return {"setup": "", "code": "\n".join(lines)}


def _live_code_bench(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return LiveCodeBench's tests. The private ones are compressed, and in them the JSON is a pickled text."""
    tests = list(_json(fields["public_test_cases"], "public_test_cases"))
    private = fields.get("private_test_cases")
    if isinstance(private, str) and private and not private.lstrip().startswith("["):
        try:
            unzip = zlib.decompressobj()
            data = unzip.decompress(base64.b64decode(private, validate=True), _MOST_BYTES)
            # Not loaded: a pickle may call anything. The texts in it are looked at.
            private = next(a for op, a, _ in pickletools.genops(data) if isinstance(a, str) and "UNICODE" in op.name)
        except (ValueError, zlib.error, StopIteration) as error:
            raise UnreadableRow(f"'private_test_cases' cannot be unpacked: {error}") from error
    tests += _json(private or "[]", "private_test_cases")
    if all(isinstance(test, Mapping) and test.get("testtype") == "functional" for test in tests):
        metadata = _json(fields.get("metadata") or "{}", "metadata")
        lines = lambda text: [_json(line, "public_test_cases") for line in text.splitlines() if line.strip()]  # noqa: E731
        cases = [(lines(test["input"]), [_json(test["output"], "public_test_cases")]) for test in tests]
        return _calls(metadata.get("func_name"), cases, "metadata")
    return _pairs(tests, "public_test_cases")
