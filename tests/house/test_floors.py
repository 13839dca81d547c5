"""The house: imports point down, heavy packages have one door each, and nothing executes what it reads."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SOURCE

#: Room → floor. Modules of one room may import each other; another room only from a higher floor.
FLOORS: dict[str, int] = {
    "core": 0,
    "ops": 1,
    "verify": 1,
    "runs": 1,
    "markup": 1,
    "algorithms": 2,
    "rewards": 2,
    "data": 2,
    "models": 2,
    "judge": 2,
    "doctor": 2,
    "environments": 3,
    "prm": 3,
    "behaviours": 3,
    "graders": 3,
    "config": 4,
    "rollout": 4,
    "analysis": 5,
    "evaluate": 5,
    "feed": 5,
    "viewer": 5,
    "train": 6,
    "report": 6,
    "selftraining": 7,
    "studies": 7,
    "cli": 8,
    "recipes": 8,
    "api": 9,
}

#: Rooms that show what happened. They read run directories, which are the only contract with what trains.
READERS = {"analysis", "behaviours", "doctor", "judge", "markup", "report", "viewer"}

#: Rooms of the trainer, which readers know nothing of.
TRAINER = {
    "train",
    "feed",
    "graders",
    "selftraining",
    "rollout",
    "environments",
    "models",
    "algorithms",
    "rewards",
}

#: Package → the only modules that may import it. Those that only some runs need must not burden the others.
DOORS: dict[str, set[str]] = {
    "accelerate": {"cli/display.py"},
    "datasets": {"data/rows.py"},
    "lm_eval": {"evaluate/harness.py"},
    "mpmath": {"verify/points.py"},
    "reasoning_gym": {"environments/gym.py"},
    "sympy": {"environments/gym.py"},
    "bm25s": {"environments/search.py"},
    "peft": {"models/lora.py"},
    "vllm": {"rollout/vllm.py", "rollout/transfer.py"},  # The second is what vLLM's own workers import.
    "ray": {"rollout/cluster.py"},
    "jinja2": {"markup/__init__.py"},
    "matplotlib": {"analysis/plots.py"},
    "openai": {"judge.py"},
    "filelock": {"runs/files.py"},
    "latex2mathml": {"markup/formulas.py"},
    **{
        name: set()
        for name in (
            "wandb",
            "tensorboard",
            "trackio",
            "mlflow",
            "trl",
            "deepspeed",
            "flash_attn",
            "math_verify",
        )
    },
}

MODULES = sorted(SOURCE.rglob("*.py"))


@functools.cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


@functools.cache
def imports_of(module: Path) -> list[tuple[int, str]]:
    """Return (line, full name) of everything that a module imports, inside functions too."""
    return list(_imports(module))


def _imports(module: Path) -> Iterator[tuple[int, str]]:
    package = ("simplerl", *module.relative_to(SOURCE).with_suffix("").parts)
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            name = ".".join(filter(None, [base, node.module]))
            # `from simplerl import data` imports the room `data`.
            yield from ((node.lineno, f"{name}.{alias.name}" if name == "simplerl" else name) for alias in node.names)


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def room_of(module: Path) -> str | None:
    """Return the room of a module; None for the package's own front door."""
    room = module.relative_to(SOURCE).parts[0].removesuffix(".py")
    return None if room in ("__init__", "__main__") else room


def test_the_package_is_found() -> None:
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_imports_point_down(module: Path) -> None:
    room = room_of(module)
    if room is None:
        return
    assert room in FLOORS, f"{name_of(module)}: give the room {room!r} a floor"
    for line, imported in imports_of(module):
        parts = imported.split(".")
        if parts[0] != "simplerl" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        other = parts[1]
        place = f"{name_of(module)}:{line} imports {imported}"
        assert other in FLOORS, f"{place}, which has no floor"
        if other == room:
            continue
        assert FLOORS[other] != FLOORS[room], f"{place}: sideways, both on floor {FLOORS[room]}"
        assert FLOORS[other] < FLOORS[room], f"{place}: up, from floor {FLOORS[room]} to {FLOORS[other]}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in READERS], ids=name_of)
def test_readers_know_nothing_of_the_trainer(module: Path) -> None:
    for line, imported in imports_of(module):
        room = imported.split(".")[1] if imported.startswith("simplerl.") else ""
        assert room not in TRAINER, f"{name_of(module)}:{line} imports {imported}: analysis reads run directories only"
        assert imported.split(".")[0] not in ("torch", "transformers"), f"{name_of(module)}:{line} imports {imported}"


def test_no_circles_between_modules() -> None:
    """Follow imports that happen when a module is loaded; a circle works only by luck."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        own = "simplerl." + ".".join(module.relative_to(SOURCE).with_suffix("").parts)
        graph[own.removesuffix(".__init__")] = set(loaded_by(module))

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "circle: " + " → ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for other in graph.get(name, ()):
            if other in graph and other != name:
                visit(other, (*path, name))
        done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


def loaded_by(module: Path) -> Iterator[str]:
    """Yield the modules of the package that are imported at the top level of a module, not for type checking only."""
    for node in tree_of(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("simplerl"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (SOURCE.parent / Path(*inner.split("."))).with_suffix(".py").exists()
                yield inner if is_module else node.module


@pytest.mark.parametrize("package", DOORS)
def test_heavy_packages_have_one_door(package: str) -> None:
    found = {
        name_of(module) for module in MODULES for _, imported in imports_of(module) if imported.split(".")[0] == package
    }
    assert found == DOORS[package]


#: Who may open Parquet: the reader and the writer of responses, and the reader of data files, which are not runs.
PARQUET = {"runs/responses.py", "data/rows.py"}

#: Who may name metrics.jsonl: the reader and the writer of runs.
METRICS_FILE = {"runs/directory.py", "runs/run.py"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_runs_have_one_reader(module: Path) -> None:
    """Everybody reads runs and results through `runs.run.Run`."""
    name = name_of(module)
    if any(imported.startswith("pyarrow.parquet") for _, imported in imports_of(module)):
        assert name in PARQUET, f"{name} opens Parquet: read through runs.run.Run"
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Constant) and node.value == "metrics.jsonl":
            assert name in METRICS_FILE, f"{name}:{node.lineno} opens metrics.jsonl: read through runs.run.Run"
        if isinstance(node, ast.FunctionDef) and node.name == "is_run":
            assert name == "runs/run.py", f"{name}:{node.lineno} has an is_run of its own: there is one in runs.run"
        if isinstance(node, ast.ImportFrom) and room_of(module) in READERS:
            names = {alias.name for alias in node.names}
            assert "read_metrics" not in names, f"{name}:{node.lineno}: what goes on with a run reads so; use Run"


def test_only_declared_packages_are_imported() -> None:
    import tomllib

    from support import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {
        spec.split("[")[0].split(">")[0].split("<")[0].split("=")[0].strip().replace("-", "_").lower()
        for spec in declared
    }
    allowed = names | {"simplerl", "flash_attn", "__future__"} | set(sys.stdlib_module_names)
    for module in MODULES:
        for line, imported in imports_of(module):
            assert imported.split(".")[0] in allowed, f"{name_of(module)}:{line} imports {imported}"


def test_what_benchmarks_tools_and_examples_import_exists() -> None:
    """They import inside functions too, which no run of them need reach."""
    import importlib.util

    from support import ROOT

    imports = [
        (file, node.module, alias.name)
        for folder in ("benchmarks", "tools", "examples")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "simplerl"
        for alias in node.names
    ]
    assert len(imports) > 20
    for file, module, name in imports:
        is_there = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
        assert is_there, f"{file.relative_to(ROOT)}: {module} has no {name}"


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_nothing_executes_what_it_reads(module: Path) -> None:
    for line, imported in imports_of(module):
        assert imported.split(".")[0] not in FORBIDDEN_MODULES, f"{name_of(module)}:{line} imports {imported}"
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.Call):
            continue
        place = f"{name_of(module)}:{node.lineno}"
        called = ast.unparse(node.func)
        assert called not in FORBIDDEN_CALLS, f"{place} calls {called}"
        assert called not in ("torch.load", "torch.save", "os.system", "os.popen"), f"{place} calls {called}"
        for keyword in node.keywords:
            value = getattr(keyword.value, "value", None)
            assert not (keyword.arg == "trust_remote_code" and value is not False), f"{place} trusts remote code"
            assert not (keyword.arg == "shell" and value is not False), f"{place} goes through a shell"


LIGHT = """
import sys
import simplerl.{module}
heavy = sorted(set({heavy}) & set(sys.modules))
assert not heavy, heavy
"""
#: A setting that is wrong is said in two seconds, not in six: an algorithm needs torch, and no more.
SETTINGS = "config.resolve; simplerl.config.resolve.resolve('cub', {})"


@pytest.mark.parametrize("module", ["cli", "core.types", "core.errors", "core.seeds", "verify", "rewards", SETTINGS])
def test_light_modules_stay_light(module: str) -> None:
    import subprocess

    from support import environment

    heavy = {"torch", "transformers", "matplotlib", "sympy", "pyarrow", "pandas", "scipy"}
    if module == SETTINGS:
        heavy = {"transformers", "matplotlib", "pandas", "scipy"}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(module=module, heavy=heavy)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
