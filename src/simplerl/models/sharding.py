"""A module in shards, one on each rank of a process group: FSDP2, and the ways of its values into shards and back."""

import copy
import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional

T = TypeVar("T")
#: Numbers that are sent at once, where a single tensor is not larger.
MESSAGE = 2**26


def tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a module's parameters and buffers by name; one that has two names comes once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def skeleton(value: Any, modules: Iterable[torch.nn.Module]) -> Any:
    """Return a deep copy of anything that holds some modules, whose parameters and buffers have no values there."""
    memo: dict[int, Any] = {}
    for each in {id(each): each for module in modules for each in tensors(module).values()}.values():
        bare = torch.empty_like(each, device="meta")
        is_parameter = isinstance(each, torch.nn.Parameter)
        memo[id(each)] = torch.nn.Parameter(bare, requires_grad=each.requires_grad) if is_parameter else bare
    return copy.deepcopy(value, memo)


def blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Return a model's layers, those within others first: what transformers would not split over devices either."""
    names = {name for each in module.modules() for name in getattr(each, "_no_split_modules", None) or ()}
    return [each for each in module.modules() if type(each).__name__ in names][::-1]


def shard(module: torch.nn.Module, mesh: DeviceMesh, *, keep_below: int, offload: bool) -> None:
    """Split a skeleton's parameters over the ranks; the module's forward gathers what it needs.

    Each layer is gathered when it computes. A module of fewer parameters than `keep_below` is gathered in one piece
    and stays so for an update (`passes`). Gradients are added up over the ranks: a loss here is normalised over the
    complete update. `offload` keeps shards, gradients and moments in the memory of the CPU.
    """
    policy = CPUOffloadPolicy() if offload else OffloadPolicy()
    keep = sum(each.numel() for each in module.parameters()) < keep_below
    for part in (*(() if keep else blocks(module)), module):
        sharded: Any = fully_shard(part, mesh=mesh, reshard_after_forward=not keep, offload_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    module.to_empty(device="cpu" if offload else mesh.device_type)
    for each in module.buffers() if offload else ():
        each.data = each.data.to(mesh.device_type)


def is_sharded(module: torch.nn.Module) -> bool:
    """Return whether a module's parameters are split over ranks."""
    return isinstance(next(module.parameters(), None), DTensor)


def passes(module: Any, items: Sequence[T]) -> Iterator[T]:
    """Yield what passes through a sharded module between two changes of its weights, one after the other.

    Where the module is kept complete for so long, its gradients are added up over the ranks once, at the last.
    """
    kept = not any(isinstance(each, FSDPModule) for each in module.modules() if each is not module)
    for index, item in enumerate(items):
        last = not kept or index == len(items) - 1
        module.set_requires_gradient_sync(last)
        module.set_reshard_after_backward(last)
        yield item
    module.reshard()


def said_by_first(say: Callable[[], T], *, sent: bool = True) -> T:
    """Return what rank 0 says, on all ranks, which must all ask; without `sent` what this one says itself."""
    if not sent:
        return say()
    values: list[Any] = [None if dist.get_rank() else say()]
    dist.broadcast_object_list(values, 0)
    return values[0]


def read_tensors(
    file: Path | str, keys: Sequence[str] = (), *, sent: bool = False
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield complete tensors of a safetensors file by name: all, or those of `keys`.

    `sent`: ranks are on several machines, and only that of rank 0 has the file. It sends all what it reads, in the
    file's own precision, and all ranks walk along.
    """
    reads = not sent or dist.get_rank() == 0
    opened: Any = safetensors.safe_open(file, "pt") if reads else nullcontext()
    with opened as content:
        for key in keys or said_by_first(lambda: list(content.keys()), sent=sent):
            values = content.get_tensor(key) if reads else torch.empty(0)
            if sent:
                shape, dtype = said_by_first(functools.partial(lambda each: (each.shape, each.dtype), values))
                values = values if reads else torch.empty(shape, dtype=dtype)
                dist.broadcast(values.reshape(-1).view(torch.uint8), 0)
            yield key, values


@torch.no_grad()
def read(module: torch.nn.Module, *, sent: bool = False) -> tuple[set[str], list[str]]:
    """Fill this rank's shards of the weights whose files the modules name (`stored`, `models/load.py`).

    Return the names of these weights, and of those that are not numbers on any rank. All ranks call it. `sent`: see
    `read_tensors`.
    """
    names: set[str] = set()
    damaged: list[str] = []
    for name, values in module.named_parameters():
        owner, _, leaf = name.rpartition(".")
        file, key = getattr(module.get_submodule(owner), "stored", {}).get(leaf, ("", ""))
        if not file:
            continue
        names.add(name)
        own = local(values)
        if sent:
            for _, complete in read_tensors(file, [key], sent=True):
                own.copy_(cut_like(complete, values))
        elif own.numel():
            first, count = own_rows(values)
            with safetensors.safe_open(file, "pt") as content:
                own.copy_(content.get_slice(key)[first : first + count])
        # A sum is not a number if any of its terms is not.
        damaged += [key] if not own.sum().isfinite() and not bool(own.isfinite().all()) else []
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, damaged)
    return names, sorted({name for each in everyone for name in each})


@torch.no_grad()
def fill(module: torch.nn.Module, values: Mapping[str, torch.Tensor] | None, *, but: Collection[str] = ()) -> None:
    """Give a sharded module the complete values that rank 0 has; on the others `values` is None. All ranks call it.

    Those whose names are in `but` stay as they are.
    """
    own = {name: each for name, each in tensors(module).items() if name not in but}
    for names in batches(own):
        device = _device(own[names[0]])
        shapes = [own[name].shape for name in names]
        flat = torch.empty(sum(map(math.prod, shapes)), dtype=own[names[0]].dtype, device=device)
        if values is not None:
            torch.cat([values[name].reshape(-1).to(device) for name in names], out=flat)
        dist.broadcast(flat, 0)
        for name, part in zip(names, flat.split([math.prod(shape) for shape in shapes]), strict=True):
            local(own[name]).copy_(cut_like(part.view(own[name].shape), own[name]))


@torch.no_grad()
def gather(named: Mapping[str, torch.Tensor], *, keep: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield complete values by name from the shards of all ranks, each of which must walk along to the end.

    Batch by batch: many small messages would take long. A rank without `keep` gets nothing. The names of one tensor
    come one after the other.
    """
    aliases: dict[int, list[str]] = {}
    for name, values in named.items():
        aliases.setdefault(id(values), []).append(name)
    for names in batches({names[0]: named[names[0]] for names in aliases.values()}):
        batch = {name: named[name] for name in names}
        complete = _gather_batch(batch, keep) if isinstance(batch[names[0]], DTensor) else batch
        for name in names if keep else ():
            for alias in aliases[id(named[name])]:
                yield alias, complete[name]


def _gather_batch(named: Mapping[str, Any], keep: bool) -> dict[str, torch.Tensor]:
    # What was computed from shards may be split in another way.
    shards = {name: each.redistribute(placements=[Shard(0)]) for name, each in named.items()}
    first = next(iter(shards.values()))
    ranks = first.device_mesh.size()
    sizes = {name: math.ceil(each.shape[0] / ranks) * math.prod(each.shape[1:]) for name, each in shards.items()}
    own = [local(each).reshape(-1) for each in shards.values()]
    # The last ranks may have fewer rows: every message is as long as the first's.
    padded = [functional.pad(each, (0, size - len(each))) for each, size in zip(own, sizes.values(), strict=True)]
    flat = torch.cat(padded).to(_device(first))
    parts = [torch.empty_like(flat) for _ in range(ranks)] if keep else None
    dist.gather(flat, parts, 0)
    pieces = zip(*(part.split(list(sizes.values())) for part in parts), strict=True) if parts else ()
    return {
        name: torch.cat(of_each).view(-1, *each.shape[1:])[: each.shape[0]]
        for (name, each), of_each in zip(shards.items(), pieces, strict=False)
    }


def batches(named: Mapping[str, torch.Tensor]) -> Iterator[list[str]]:
    """Yield names of tensors of one type and kind of memory that are at most `MESSAGE` numbers together, or one."""
    kinds: dict[Any, list[str]] = {}
    for name, values in named.items():
        names = kinds.setdefault((isinstance(values, DTensor), values.dtype, _device(values)), [])
        if names and sum(named[each].numel() for each in names) + values.numel() > MESSAGE:
            yield names.copy()
            names.clear()
        names.append(name)
    yield from kinds.values()


def cut_like(complete: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return this rank's rows of complete values that every rank has, as `like` is split; all where it is not."""
    if not isinstance(like, DTensor) or like.shape != complete.shape:
        return complete
    first, count = own_rows(like)
    return complete[first : first + count]


def own_rows(like: Any) -> tuple[int, int]:
    """Return the first of this rank's rows of what is split as `like`, and how many there are at most."""
    mesh = like.device_mesh
    count = math.ceil(like.shape[0] / mesh.size())
    return mesh.get_local_rank() * count, count


def shard_like(complete: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return complete values that every rank has as shards, as `like` is split; as they are where it is not."""
    if not isinstance(like, DTensor) or like.shape != complete.shape:
        return complete
    own = cut_like(complete, like).to(local(like).device)
    return DTensor.from_local(
        own, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def local(values: torch.Tensor) -> torch.Tensor:
    """Return this rank's shard as a plain tensor that shares its memory."""
    return values.to_local() if isinstance(values, DTensor) else values


def _device(values: torch.Tensor) -> torch.device:
    """Return where a tensor is sent from and to: shards that are kept on the CPU go by the GPU."""
    return torch.device(values.device_mesh.device_type) if isinstance(values, DTensor) else values.device


@torch.no_grad()
def clip_gradient(parameters: Iterable[torch.nn.Parameter], limit: float) -> torch.Tensor:
    """Scale gradients in shards down to a norm, in place; return the norm that they had, over all ranks."""
    gradients = [local(each.grad) for each in parameters if each.grad is not None]
    square = torch.nn.utils.get_total_norm(gradients).double().square()
    dist.all_reduce(square)
    norm = square.sqrt().float()
    share = (limit / (norm + 1e-6)).clamp(max=1.0)
    for each in gradients:
        each.mul_(share.to(each.device))
    return norm
