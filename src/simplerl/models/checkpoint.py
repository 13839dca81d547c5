"""Checkpoints: a directory that Hugging Face or peft loads, and in `trainer/` what an exact resume needs. No pickle."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simplerl.models import lora
from simplerl.models.sharding import cut_like, gather, local, read_tensors, said_by_first, shard_like

TRAINER = "trainer"


def snapshot(
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    others: Mapping[str, tuple[torch.nn.Module | None, torch.optim.Optimizer | None]] | None = None,
    writes: bool = True,
    copies: bool = False,
) -> Callable[[Path], None]:
    """Return what writes fp32 weights (where there are adapters, theirs), tokenizer, moments and the trainer's state.

    `others` are further modules (a critic) or None, by name, with their optimizers or None. Where all are in shards,
    every rank calls it and one `writes` complete tensors: any number of ranks reads them, and so does anybody else.
    With `copies` what is written is the state of this moment, whenever that happens and in whichever thread.
    """

    def complete(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return complete_on_cpu(named, writes, copies=copies)

    def moments(own: torch.optim.Optimizer, numbers: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return an optimizer's complete tensors; its other numbers go into `numbers`."""
        tensors: dict[str, Any] = {}
        for index, slots in own.state_dict()["state"].items():
            for name, value in slots.items():
                (tensors if isinstance(value, torch.Tensor) else numbers)[f"{index}.{name}"] = value
        return complete(tensors)

    adapters = lora.has_adapters(model)
    weights = complete(lora.parameters(model) if adapters else model.state_dict(keep_vars=True))
    scalars: dict[str, Any] = {}
    files = {"optimizer": moments(optimizer, scalars.setdefault("optimizer", {}))}
    for name, (module, own) in (others or {}).items():
        if module:
            named = module.state_dict(keep_vars=True)
            first = {id(values): key for key, values in reversed(named.items())}  # A tied head is saved once.
            files[name] = complete({key: named[key] for key in named if first[id(named[key])] == key})
        if own:
            files[f"{name}_optimizer"] = moments(own, scalars.setdefault(f"{name}_optimizer", {}))

    def write(directory: Path) -> None:
        trainer = directory / TRAINER
        with _disk_errors():
            if adapters:
                lora.save(model, directory, weights)
            else:
                model.save_pretrained(directory, state_dict=weights)
            tokenizer.save_pretrained(directory)
            trainer.mkdir()
            for name, tensors in files.items():
                safetensors.torch.save_file(tensors, trainer / f"{name}.safetensors")
        (trainer / "state.json").write_text(json.dumps({**state, **scalars}, indent=2) + "\n", encoding="utf-8")

    return write


def complete_on_cpu(
    named: Mapping[str, torch.Tensor], keep: bool = True, *, copies: bool = False
) -> dict[str, torch.Tensor]:
    """Return complete tensors on the CPU, as they were named, on the rank that keeps them; all ranks must ask.

    Without `copies` they may share memory with those that are trained.
    """
    on_cpu: dict[str, torch.Tensor] = {}
    last = copy = None
    for name, values in gather(named, keep=keep):
        if values is not last:  # The names of one tensor share its copy.
            last, copy = values, values.detach().to("cpu", copy=copies and values is named[name]).contiguous()
        on_cpu[name] = copy
    return {name: on_cpu[name] for name in named if keep}


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn what safetensors and tokenizers raise for a full disk into the OSError that it is."""
    try:
        yield
    except Exception as error:
        if "(os error" not in str(error):
            raise
        raise OSError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint holds for an exact resume beside the policy's weights. All ranks read it."""

    directory: Path
    sent: bool = False
    """Whether only rank 0 has it, and sends the others what it reads (`sharding.read_tensors`)."""

    def state(self) -> dict[str, Any]:
        """Return the trainer's state."""
        file = self.directory / TRAINER / "state.json"
        return said_by_first(lambda: json.loads(file.read_text(encoding="utf-8")), sent=self.sent)

    @torch.no_grad()
    def load_module(self, name: str, module: torch.nn.Module) -> None:
        """Fill a further module's weights, or this rank's shards of them."""
        own = module.state_dict()
        for key, values in self._tensors(name):
            local(own[key]).copy_(cut_like(values, own[key]))

    def load_optimizer(self, optimizer: torch.optim.Optimizer, *, name: str = "optimizer") -> None:
        """Fill an optimizer's moments; the parameters must be the same, in the same order."""
        parameters = [values for group in optimizer.param_groups for values in group["params"]]
        slots: dict[int, dict[str, Any]] = {}
        for key, value in self.state()[name].items():
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        for key, values in self._tensors(name):
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = shard_like(values, parameters[int(index)])
        table = optimizer.state_dict()
        table["state"] = slots
        optimizer.load_state_dict(table)

    def _tensors(self, name: str) -> Iterator[tuple[str, torch.Tensor]]:
        return read_tensors(self.directory / TRAINER / f"{name}.safetensors", sent=self.sent)
