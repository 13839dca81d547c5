"""The command line: one small file per subcommand, imported only when that command is called.

Exit codes: 0 done, 1 a check failed or a bug of ours, 2 a mistake that the user can fix (one message), 130 Ctrl-C.
"""

import argparse
import importlib
import itertools
import os
import sys

from simplerl import __version__
from simplerl.cli.options import names_to_choose
from simplerl.core.errors import SimpleRLError, nearest
from simplerl.core.plugins import load_plugins

#: Subcommand → one-line summary. The command lives in `simplerl/cli/NAME.py` (dashes become underscores), which has
#: `EXAMPLES: str`, `add_arguments(parser)` and `run(args) -> int`.
COMMANDS: dict[str, str] = {
    "train": "train a base model by reinforcement learning from verifiable rewards",
    "sft": "fine-tune a model on responses to imitate: the cold start before training",
    "sample": "write a model's responses, the right ones or all, as data to imitate",
    "preflight": "see how a base model takes to each prompt template before training",
    "eval": "evaluate models and checkpoints on benchmarks, or score responses made elsewhere",
    "compare": "compare two evaluations problem by problem: did it help?",
    "explore": "exploration and exploitation over steps: pass@k, unique right answers, diversity, useful tokens",
    "behaviours": "which cognitive behaviours the responses show: backtracking, verification, subgoals, enumeration",
    "view": "read what a model does: a page over the runs and results in a directory",
    "doctor": "say what goes wrong in a run, with figures, and what to try",
    "report": "write one HTML file about runs and evaluations, and figures fit for a paper",
    "experiment": "re-examine a finding of SimpleRL-Zoo on the cubs: settings × seeds, a table, a plot",
    "race": "race algorithms at equal tokens: a table and a plot with intervals over seeds",
    "cub": "list the embedded tiny base models, or show a model card",
    "data": "make training data: tiers, filters, gold checks, decontamination, difficulty",
    "recipes": "list the shipped recipes, or print one fully resolved",
    "verify": "judge one answer (or a file of answers) against the gold, and say why",
    "audit": "check a data set's golds and a verifier's behaviour before training on them",
}


def build_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one subcommand, its module imported."""
    module = importlib.import_module(f"simplerl.cli.{command.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"simplerl {command}",
        description=(module.__doc__ or COMMANDS[command]).strip(),
        epilog=(f"{names_to_choose()}\n\n" if getattr(module, "NAMES", False) else "")
        + f"examples:\n{module.EXAMPLES.rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument(
        "--plugin",
        metavar="FILE_OR_MODULE",
        action="append",
        default=[],
        help="code of yours to load first; repeatable",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=module.run)
    return parser


def split_overrides(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the command's own arguments from configuration settings: every `--key [value]` that it does not declare."""
    own, overrides, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        name = argument.partition("=")[0]
        if not name.startswith("--") or name in parser._option_string_actions:
            own.append(argument)
            continue
        overrides.append(argument)
        if "=" not in argument and rest and not rest[0].startswith("--"):
            overrides.append(rest.pop(0))
    return own, overrides


def named_plugins(argv: list[str]) -> list[str]:
    """Return the values of `--plugin`, before there is a parser: its choices may come from them."""
    named = [after for word, after in itertools.pairwise(argv) if word == "--plugin"]
    return [*named, *(word.partition("=")[2] for word in argv if word.startswith("--plugin="))]


def usage() -> str:
    """Return the text of `simplerl --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: simplerl COMMAND [OPTIONS]\n\n"
        "Train reasoning into open base language models by reinforcement learning from verifiable rewards.\n\n"
        f"commands:\n{rows}\n\n"
        "examples:\n"
        "  simplerl train                      # learn on a laptop, in about a minute\n"
        "  simplerl train --help               # every option of a command\n"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # Before torch is loaded: threads that wait for others sleep instead of spinning, or a busy neighbour would make a
    # run several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"simplerl {__version__}")
        return 0
    command, *rest = argv
    if command not in COMMANDS:
        print(f"error: unknown command {command!r}; {nearest(command, COMMANDS)}", file=sys.stderr)
        return 2
    debug = "--debug" in rest
    try:
        load_plugins(named_plugins(rest))
        parser = build_parser(command)
        overrides: list[str] = []
        if parser.get_default("takes_overrides"):
            rest, overrides = split_overrides(parser, rest)
        args = parser.parse_args(rest)
        args.overrides = overrides
        return args.run(args)
    except SimpleRLError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in simplerl. Run the same command with --debug for the traceback, and please report it.",
            file=sys.stderr,
        )
        return 1
