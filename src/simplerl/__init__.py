"""simplerl: train reasoning into open base language models by reinforcement learning from verifiable rewards.

    import simplerl

    run = simplerl.train("cub", output_dir="runs/first")     # learn; docs/python.md
    simplerl.Run("runs/first").metrics                       # read what a run did
    @simplerl.register("reward", "mine")                     # add something of your own; docs/extending.md

Everything is loaded when it is first used: importing this is quick, and imports no torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simplerl.api import evaluate, load_problems, sample, sft, star, train, verify
    from simplerl.core.errors import SimpleRLError
    from simplerl.core.registry import register
    from simplerl.runs.run import Run
    from simplerl.train.run import Callback

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Run",
    "SimpleRLError",
    "evaluate",
    "load_problems",
    "register",
    "sample",
    "sft",
    "star",
    "train",
    "verify",
]

#: Name → module that it is in, where that is not `simplerl.api`.
_ELSEWHERE = {
    "Callback": "simplerl.train.run",
    "Run": "simplerl.runs.run",
    "SimpleRLError": "simplerl.core.errors",
    "register": "simplerl.core.registry",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'simplerl' has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "simplerl.api")), name)
    return import_module("simplerl.train") if name == "train" else value  # A room too: `simplerl.train.SAMPLERS`.


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Room(ModuleType):
    """A package of this one whose name is a function of the API too: it can be called as that function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @property
    def _function(self) -> Any:
        return getattr(import_module("simplerl.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function)


class _Package(ModuleType):
    """This package. Importing `simplerl.train.loop` makes `simplerl.train` a module; it stays callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
