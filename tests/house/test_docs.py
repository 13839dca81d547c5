"""The documentation says what is: generated pages are up to date, commands and keys in the texts exist."""

import dataclasses
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, environment

from simplerl.algorithms import ALGORITHMS, Algorithm
from simplerl.cli import COMMANDS, make_parser, parse, table_of
from simplerl.config.resolve import RECIPES, as_table, flatten, merge, parse_overrides, resolve
from simplerl.config.sections import Config
from simplerl.core.registry import canonical, forget
from simplerl.data import DATASETS
from simplerl.rewards import REWARDS
from simplerl.rollout import BACKENDS
from simplerl.rollout.backend import RolloutBackend
from simplerl.runs.metrics import METRICS
from simplerl.runs.responses import SCHEMA

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


#: Runs a script with --check and without, in one process: to import the package takes longer than both.
TWICE = """
import runpy, sys
for sys.argv in ([sys.argv[1], "--check"], [sys.argv[1]]):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        print(end.code)
"""


def test_generated_pages_are_up_to_date_and_a_stale_one_is_written_anew(tmp_path: Path) -> None:
    """If this fails: python tools/docs.py. Of the copies only the stale one is named, and becomes what it was."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "tools").mkdir()
    script = Path(shutil.copy(ROOT / "tools" / "docs.py", tmp_path / "tools"))
    page = tmp_path / "docs" / "metrics.md"
    page.write_text(page.read_text().replace("mean reward", "mean regard"))
    line = [sys.executable, "-c", TWICE, str(script)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    assert done.stderr == "docs/metrics.md is out of date: run python tools/docs.py\n"
    assert done.stdout == "1\nwrote docs/metrics.md\n0\n"
    assert page.read_text() == text_of("docs/metrics.md")


def test_every_key_of_a_run_is_explained() -> None:
    page = text_of("docs/configuration.md")
    for key in flatten(as_table(resolve("cub", {}))):
        if not key.endswith(".name"):
            row = re.search(rf"^\| `{re.escape(key)}` \| .+ \| (.*) \|$", page, re.MULTILINE)
            assert row, key
            assert row[1] or key.startswith("reward."), f"{key} has no text under it"


def test_every_algorithm_and_its_keys_are_explained() -> None:
    page = text_of("docs/configuration.md")
    for name, algorithm in ALGORITHMS.items():
        part = page.split(f'### algorithm.name = "{name}"')[1].split("###")[0]
        for field in dataclasses.fields(algorithm):
            row = re.search(rf"^\| `algorithm\.{field.name}` \| .+ \| (.+) \|$", part, re.MULTILINE)
            assert row, f"{name}.{field.name}"


def test_every_algorithm_has_its_section_and_recipe() -> None:
    """Paper, code, and a recipe on the cub that chooses it."""
    page = text_of("docs/algorithms.md")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^##? |\Z)", page, re.MULTILINE | re.DOTALL))
    recipes = {name: resolve(name, {}) for name in RECIPES if name.split("-")[0] == "cub"}
    for name, cls in ALGORITHMS.items():
        assert name in sections, f"docs/algorithms.md has no section on {name}"
        assert "arxiv.org" in sections[name], name
        assert f"`algorithms/{Path(inspect.getfile(cls)).name}`" in sections[name], name
        recipe = "cub" if name == "grpo" else f"cub-{name.replace('_', '-')}"
        assert type(recipes[recipe].algorithm) is cls, recipe
        assert recipes[recipe].model == ("cub-hasty" if recipe == "cub" else "cub-qwen")
    assert set(re.findall(r"^## ([a-z]\w+)\n", page, re.MULTILINE)) == set(ALGORITHMS)


def test_every_metric_command_and_column_is_explained() -> None:
    metrics, cli, run_format = (text_of(f"docs/{name}.md") for name in ("metrics", "cli", "run-format"))
    for name in METRICS:
        assert f"`{name}`" in metrics
    for name in COMMANDS:
        assert f"## simplerl {name}\n" in cli
    for name in SCHEMA.names:
        assert f"| `{name}` |" in run_format, name


@pytest.mark.parametrize(
    "registry", [ALGORITHMS, REWARDS, DATASETS, BACKENDS], ids=["algorithm", "reward", "data", "backend"]
)
def test_everything_registered_says_what_it_is(registry: dict) -> None:
    assert registry
    for name, entry in registry.items():
        own = entry.__dict__.get("__doc__") if inspect.isclass(entry) else entry.__doc__
        assert own, name
        assert not own.startswith(f"{entry.__name__}("), f"{name}: that is the text of the dataclass machinery"
        assert own.strip().split("\n")[0].endswith((".", "?", "!")), name
        assert inspect.getmodule(entry).__doc__, name


def protocol_members(protocol: type) -> set[str]:
    return {name for name in [*vars(protocol), *vars(protocol).get("__annotations__", {})] if not name.startswith("_")}


def test_everything_registered_has_what_its_protocol_asks_for() -> None:
    for name, cls in ALGORITHMS.items():
        assert dataclasses.is_dataclass(cls)
        assert cls.__dataclass_params__.frozen, name
        missing = {member for member in protocol_members(Algorithm) if not hasattr(cls, member)}
        assert not missing, f"{name} lacks {missing}"
    for name, cls in BACKENDS.items():
        methods = protocol_members(RolloutBackend) - set(RolloutBackend.__annotations__)
        missing = {method for method in methods if not hasattr(cls, method)}
        assert not missing, f"{name} lacks {missing}"
        assert {"stop_ids", "context_length"} <= set(inspect.signature(cls).parameters), name
    for name, load in DATASETS.items():
        assert [n for n in inspect.signature(load).parameters if n not in ("at", "task", "options")] == [
            "split",
            "size",
            "seed",
            "levels",
        ], name


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_shipped_recipes_say_what_they_are_and_resolve(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    assert re.match(r'about = ".{20,120}\."\n', text)
    assert isinstance(resolve(name, {}), Config)


def bash_blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def my_ideas(tmp_path: Path, monkeypatch) -> Iterator[None]:
    """The plug-in that docs/extending.md begins with, as a file where its commands are given."""
    block = re.search(r"^```python\n(# my_ideas\.py\n.*?)^```", text_of("docs/extending.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "my_ideas.py").write_text(block[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield
    forget(canonical("my_ideas.py"))


def test_commands_in_the_texts_exist(my_ideas: None) -> None:
    """Every `simplerl …` in a bash block: the command is there, its options and keys are there."""
    seen = 0
    for page in PAGES:
        for line in "\n".join(bash_blocks(page)).splitlines():
            for part in line.split("#")[0].split("&&"):
                words = shlex.split(part)
                if not words or words[0] != "simplerl":
                    continue
                seen += 1
                assert words[1] in COMMANDS, f"{page.name}: {line}"
                args = parse(words[1:])
                if args.table.get("overrides"):
                    resolve_words(args, args.overrides)
    assert seen >= 5


def resolve_words(args, overrides: list[str]) -> None:
    """Resolve what a `train` command would run, as far as that goes without files."""
    named = {key: getattr(args, key, None) for key in ("model", "data", "template", "steps", "seed")}
    table = merge(parse_overrides(overrides), {key: value for key, value in named.items() if value is not None})
    plugins = {"plugins": args.plugin} if getattr(args, "plugin", None) else {}
    resolve(getattr(args, "recipe", None), {**table, **plugins})


def test_settings_in_the_texts_are_settings(tmp_path: Path) -> None:
    """Every toml block but a project's can be laid on a recipe."""
    blocks = [
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        if not block.startswith("[project")
    ]
    assert blocks
    for name, block in blocks:
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text('extends = "cub"\n' + block, encoding="utf-8")
        assert isinstance(resolve(str(recipe), {}), Config)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_the_help_can_be_parsed(name: str) -> None:
    examples = make_parser(name, table_of(name)).epilog.split("examples:")[1]
    lines = [line.strip() for line in examples.splitlines() if line.strip().startswith("simplerl ")]
    assert any(line.startswith(f"simplerl {name}") for line in lines)
    for line in lines:
        words = shlex.split(re.split(r"\s{3,}|\s>\s", line)[0])
        assert words[1] in COMMANDS, line
        args = parse(words[1:])
        if args.table.get("overrides"):
            resolve_words(args, args.overrides)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_page_has_a_placeholder_left() -> None:
    for page in PAGES:
        assert not re.search(r"@@\w+@@|\bTODO\b|\bFIXME\b", page.read_text(encoding="utf-8")), page.name


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    import os

    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "pip install '.[test]' && pytest" in text_of("README.md")
    assert "'.[test]'" in script.read_text()


def test_changelog_knows_the_version() -> None:
    from simplerl import __version__

    assert "## Unreleased" in text_of("CHANGELOG.md") or f"## {__version__}" in text_of("CHANGELOG.md")
    assert f'version = "{__version__}"' in text_of("pyproject.toml")
    assert "Apache License" in text_of("LICENSE")


def test_tree_in_the_readme_is_the_tree() -> None:
    tree = re.search(r"^src/simplerl/\n.*?^```", text_of("README.md"), re.MULTILINE | re.DOTALL)[0]
    for room in (entry.name for entry in (ROOT / "src" / "simplerl").iterdir() if entry.is_dir()):
        if room != "__pycache__":
            assert f"{room}/" in tree, f"the README's tree lacks {room}/"
    for name in re.findall(r"(?<![\w/])(\w+)/(?=\s{2,})", tree):
        assert (ROOT / "src" / "simplerl" / name).is_dir() or (ROOT / name).is_dir(), f"no {name}/"


def test_every_benchmark_and_figure_is_documented() -> None:
    from simplerl.evaluate.benchmarks import BENCHMARKS
    from simplerl.evaluate.figures import NAMES

    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for name, benchmark in BENCHMARKS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert f"{benchmark.problems:,}" in row
        assert (benchmark.hub["name"] if benchmark.hub else "–") in row
    for figure in NAMES:
        assert f"`{figure}`" in text, figure


def test_what_a_key_means_is_the_text_under_its_field() -> None:
    """The class that declares a field last says what it is; types are written as a reader would write them."""
    import importlib.util
    from typing import Annotated, Literal

    from simplerl.config.sections import Config

    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.field_docs(Config)["seed"]
    for annotation, name in (
        (int, "int"),
        (int | None, "int"),
        (Literal["a", "b"], "a | b"),
        (tuple[str, ...], "list of str"),
        (Annotated[tuple[float, ...], "more"], "list of float"),
    ):
        assert tool.type_name(annotation) == name
