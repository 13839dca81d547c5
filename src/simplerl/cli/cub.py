"""List the cubs, the embedded family of tiny base models, or show one's model card.

A cub is an ordinary Hugging Face model directory, pretrained from random weights on generated arithmetic text.
`python tools/cubs.py` in the repository makes one again from its seed (minutes on two cores).
"""

import argparse

EXAMPLES = """\
  simplerl cub list
  simplerl cub show cub-llama
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("list", "show"), help="list all, or show one's card")
    parser.add_argument("name", nargs="?", help="which cub (show)")


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    from simplerl.core.errors import ConfigError, nearest
    from simplerl.models import cub

    if args.action == "list":
        for name in cub.NAMES:
            print(f"{name:12} {cub.path(name)}")
        return 0
    if args.name not in cub.NAMES:
        raise ConfigError(f"unknown cub {args.name!r}; {nearest(args.name or '', cub.NAMES)}")
    print((cub.path(args.name) / "README.md").read_text(encoding="utf-8"))
    return 0
