"""A plug-in for simplerl: what it registers can be named in any recipe, on the command line and from Python.

The algorithm is declared by its place and imported when it is looked up: it needs torch, and listing names should not.
"""

from pathlib import Path

from simplerl import register
from simplerl_thrifty import data, reward

__all__ = ["data", "reward"]  # Importing them registers them.

register("algorithm", "thrifty", at="simplerl_thrifty.algorithm:Thrifty")
register("template", "ask")("Q: {input}\nA:")
register("recipe", "cub-thrifty")(Path(__file__).parent / "cub-thrifty.toml")
