"""The building of `simplerl data tiers`: GSM8K and MATH in, three files out, their counts beside the paper's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simplerl import __version__, data
from simplerl.core.errors import DataError
from simplerl.data import decontaminate, gsm8k, math, tiers
from simplerl.data.output import check_output, where, write
from simplerl.data.problems import ProblemSet

#: The benchmark whose questions are part of MATH, at a pinned revision.
MATH_500 = "HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"


def _sources(given_gsm8k: str | None, given_math: Sequence[str] | None) -> list[tuple[str, str, ProblemSet]]:
    """Return (`gsm8k` or `math`, label for ids, problems) of everything that the tiers are built from."""
    if given_gsm8k:
        found = [("gsm8k", Path(given_gsm8k).stem, data.read(given_gsm8k))]
    else:
        found = [("gsm8k", "gsm8k-train", gsm8k.load("train"))]
    if given_math:
        found += [("math", Path(name).stem, data.read(name)) for name in given_math]
    else:
        found += [("math", f"math-{split}", math.load(split)) for split in ("train", "test")]
    labels = [label for _, label, _ in found]
    if len({*labels}) < len(labels):
        raise DataError(f"two files have the same name, so their problems would have the same ids: {', '.join(labels)}")
    return found


def make(
    *,
    gsm8k: str | None,
    math: Sequence[str] | None,
    exclude: Sequence[str] | None,
    directory: Path,
    suffix: str,
    overwrite: bool,
    show: Callable[..., None],
) -> int:
    """Build and write the tiers, and show their counts beside the paper's; return the exit code."""
    paths = {name: check_output(directory / f"{name}{suffix}", overwrite=overwrite) for name in tiers.TIERS}
    found = _sources(gsm8k, math)
    kept_out = list(exclude or ()) or ([] if math else [MATH_500])
    asked = [
        item.question for name in decontaminate.benchmark_files(kept_out) for item in decontaminate.questions(name)
    ]
    problems: dict[str, list[Any]] = {"gsm8k": [], "math": []}
    for source, label, read in found:
        problems[source] += tiers.named(read.problems, source, label)
        if read.left_out:
            print(f"{label}: {data.left_out_message(read)}")
    built = tiers.build(problems["gsm8k"], problems["math"], exclude=asked)
    for name, path in paths.items():
        report = {
            "command": "simplerl data tiers",
            "simplerl": __version__,
            "tier": name,
            "input": {label: dict(read.origin) for _, label, read in found},
            "excluded_questions_of": kept_out,
            "count": len(built.problems[name]),
            "paper": tiers.TIERS[name].paper,
            "by_source_and_level": tiers.counts(built.problems[name]),
            "excluded": [where(item) for item in built.excluded],
            "without_level": [{**where(item), "level": item.level} for item in built.without_level],
        }
        write(path, built.problems[name], report)
    rows = [
        (name, len(built.problems[name]), tiers.TIERS[name].paper, _content(built.problems[name])) for name in paths
    ]
    show("tiers", rows, head=("tier", "problems", "paper", "of these"))
    if kept_out:
        print(f"{len(built.excluded):,} problems kept out because {', '.join(kept_out)} asks them")
    else:
        print("nothing was kept out: MATH-500 is part of MATH; give --exclude math500.jsonl, or run data decontaminate")
    if built.without_level:
        named = ", ".join(f"{item.meta['place']} ({item.level or 'none'})" for item in built.without_level[:5])
        print(f"{len(built.without_level)} problems of MATH are in no tier, for want of a level 1 to 5: {named}")
    for path in paths.values():
        print(f"wrote {path}")
    return 0


def _content(problems: list[Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in tiers.counts(problems).items())
