"""Make training data: build tiers, filter, check golds, remove benchmark questions, measure difficulty.

Every action but `audit` writes one data file (.jsonl or .parquet, `--output`) that `simplerl train --data` takes, and
a report beside it (`NAME.report.json`) that names every problem that was removed. `simplerl data ACTION --help` has
each action's options and examples; docs/data.md explains the formats.
"""

import argparse

EXAMPLES = """\
  simplerl data tiers --output-dir data
  simplerl data filter gsm8k --tokenizer Qwen/Qwen2.5-0.5B --output short.jsonl
  simplerl data audit problems.jsonl
  simplerl data decontaminate problems.jsonl --against benchmarks/ --output clean.jsonl
  simplerl data difficulty problems.jsonl --model Qwen/Qwen2.5-0.5B --output rated.jsonl
"""

#: Action → (summary, examples).
ACTIONS: dict[str, tuple[str, str]] = {
    "tiers": (
        "build the Easy, Medium and Hard tiers of SimpleRL-Zoo from GSM8K and MATH",
        """\
  simplerl data tiers --output-dir data                 # both from the hub, without MATH-500
  simplerl data tiers --gsm8k gsm8k_train.jsonl --math math_train.jsonl math_test.jsonl \\
      --exclude math500.jsonl --output-dir data --format parquet
""",
    ),
    "filter": (
        "keep the problems whose prompt is short enough, counted in tokens",
        """\
  simplerl data filter data/hard.jsonl --tokenizer Qwen/Qwen2.5-7B --template qwen-boxed \\
      --max-prompt-tokens 1024 --output hard-short.jsonl
""",
    ),
    "audit": (
        "check that every gold can be judged; with --drop-unjudgeable write the others",
        """\
  simplerl data audit problems.jsonl
  simplerl data audit problems.jsonl --drop-unjudgeable --output judgeable.jsonl
""",
    ),
    "decontaminate": (
        "remove the problems that a benchmark asks too",
        """\
  simplerl data decontaminate data/hard.jsonl --against benchmarks/ --output clean.jsonl
  simplerl data decontaminate gsm8k --against math500.jsonl aime24.jsonl --n 8 --output clean.jsonl
""",
    ),
    "difficulty": (
        "measure a model's pass rate on each problem, and filter by it",
        """\
  simplerl data difficulty data/easy.jsonl --model Qwen/Qwen2.5-0.5B --samples 8 --output rated.jsonl
  simplerl data difficulty rated.jsonl --min-pass-rate 0.1 --max-pass-rate 0.9 --output learnable.jsonl
      no model: the pass rates that the file holds are used
""",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    subs: dict[str, argparse.ArgumentParser] = {}
    for name, (summary, examples) in ACTIONS.items():
        subs[name] = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{examples.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        subs[name].add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        subs[name].add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    _tiers_arguments(subs["tiers"])
    for name in ("filter", "audit", "decontaminate", "difficulty"):
        subs[name].add_argument("data", metavar="FILE_OR_DATASET", help="a data file, or the name of a data set")
        subs[name].add_argument("--split", default="train", help="split of a named data set (default: %(default)s)")
        subs[name].add_argument(
            "--output", metavar="FILE", required=name != "audit", help="data file to write: .jsonl or .parquet"
        )
    _prompt_arguments(subs["filter"])
    subs["filter"].add_argument("--tokenizer", required=True, metavar="M", help="model whose tokenizer counts")
    subs["filter"].add_argument(
        "--max-prompt-tokens", type=int, default=1024, metavar="N", help="longest prompt kept (default: %(default)s)"
    )
    audit = subs["audit"]
    audit.add_argument("--drop-unjudgeable", action="store_true", help="write the problems whose gold can be judged")
    audit.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    audit.add_argument("--timeout", type=float, default=2.0, help="seconds per gold (default: %(default)s)")
    decontaminate = subs["decontaminate"]
    decontaminate.add_argument(
        "--against", nargs="+", required=True, metavar="B", help="benchmarks: directories, files or data sets"
    )
    decontaminate.add_argument("--n", type=int, default=13, help="words of an n-gram (default: %(default)s)")
    _difficulty_arguments(subs["difficulty"])


def _tiers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gsm8k", metavar="FILE", help="GSM8K's training file (default: from the hub)")
    parser.add_argument("--math", nargs="+", metavar="FILE", help="MATH's files (default: both splits from the hub)")
    parser.add_argument(
        "--exclude",
        nargs="+",
        metavar="B",
        help="files or data sets whose questions are kept out (default: MATH-500, where MATH comes from the hub)",
    )
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="directory for easy, medium and hard")
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="(default: %(default)s)")


def _prompt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--template", default="simple", metavar="T", help="prompt template (default: %(default)s)")
    parser.add_argument("--system", default="", metavar="TEXT", help="system message of the template chat")
    parser.add_argument("--special-tokens", default="none", metavar="P", help="none or bos (default: %(default)s)")


def _difficulty_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="model to measure; without one the file's pass rates are used")
    _prompt_arguments(parser)
    parser.add_argument(
        "--samples", type=int, default=8, metavar="N", help="responses a problem (default: %(default)s)"
    )
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="(default: %(default)s)")
    parser.add_argument(
        "--max-tokens", type=int, default=3072, metavar="N", help="longest response (default: %(default)s)"
    )
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends a response; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N problems (default: all)")
    parser.add_argument("--min-pass-rate", type=float, default=0.0, metavar="R", help="(default: %(default)s)")
    parser.add_argument("--max-pass-rate", type=float, default=1.0, metavar="R", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--policy", default="boxed", help="where answers are looked for (default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=512, help="responses at once (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    from simplerl.cli import data_actions

    return getattr(data_actions, args.action)(args)
