"""Checkpoints: a directory that Hugging Face or peft loads, and in `trainer/` what an exact resume needs. No pickle."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simplerl.models import lora

TRAINER = "trainer"


def save(
    directory: Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    others: Mapping[str, tuple[torch.nn.Module, torch.optim.Optimizer]] | None = None,
) -> None:
    """Write fp32 weights (where there are adapters, theirs), tokenizer, optimizer moments and the trainer's state.

    `others` are further modules with their optimizers (a critic), by name.
    """
    with _disk_errors():
        if lora.has_adapters(model):
            lora.save(model, directory)
        else:
            model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    trainer = directory / TRAINER
    trainer.mkdir()
    scalars = {"optimizer": _save_optimizer(trainer / "optimizer.safetensors", optimizer)}
    for name, (module, own) in (others or {}).items():
        with _disk_errors():
            safetensors.torch.save_model(module, str(trainer / f"{name}.safetensors"))
        scalars[f"{name}_optimizer"] = _save_optimizer(trainer / f"{name}_optimizer.safetensors", own)
    (trainer / "state.json").write_text(json.dumps({**state, **scalars}, indent=2) + "\n", encoding="utf-8")


def _save_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Write an optimizer's tensors; return its other numbers."""
    tensors, scalars = {}, {}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars[f"{index}.{name}"] = value
    with _disk_errors():
        safetensors.torch.save_file(tensors, path)
    return scalars


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn what safetensors and tokenizers raise for a full disk into the OSError that it is."""
    try:
        yield
    except Exception as error:
        if "(os error" not in str(error):
            raise
        raise OSError(str(error)) from error


def load_state(directory: Path) -> dict[str, Any]:
    """Return the trainer's state."""
    return json.loads((directory / TRAINER / "state.json").read_text(encoding="utf-8"))


def load_module(directory: Path, name: str, module: torch.nn.Module) -> None:
    """Fill a further module's weights from a checkpoint."""
    safetensors.torch.load_model(module, directory / TRAINER / f"{name}.safetensors")


def load_optimizer(directory: Path, optimizer: torch.optim.Optimizer, *, name: str = "optimizer") -> None:
    """Fill an optimizer's moments from a checkpoint; the parameters must be the same, in the same order."""
    tensors = safetensors.torch.load_file(directory / TRAINER / f"{name}.safetensors")
    slots: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *load_state(directory)[name].items()]:
        index, slot = key.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    table = optimizer.state_dict()
    table["state"] = slots
    optimizer.load_state_dict(table)
