"""A module in shards, one on each rank of a process group: FSDP2, and the ways of its values into shards and back."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


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
    """Return a model's layers: what transformers would not split over devices either."""
    names = {name for each in module.modules() for name in getattr(each, "_no_split_modules", None) or ()}
    return [each for each in module.modules() if type(each).__name__ in names]


def shard(module: torch.nn.Module, mesh: DeviceMesh, *, offload: bool) -> None:
    """Split a skeleton's parameters over the ranks, each layer's together; the module's forward gathers what it needs.

    Gradients are added up over the ranks: a loss here is normalised over the complete update. `offload` keeps shards,
    gradients and moments in the memory of the CPU.
    """
    policy = CPUOffloadPolicy() if offload else OffloadPolicy()
    for part in (*blocks(module), module):
        sharded: Any = fully_shard(part, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    module.to_empty(device="cpu" if offload else mesh.device_type)
    for each in module.buffers() if offload else ():
        each.data = each.data.to(mesh.device_type)


@torch.no_grad()
def fill(module: torch.nn.Module, values: Mapping[str, torch.Tensor] | None) -> None:
    """Give a sharded module the complete values that rank 0 has; on the others `values` is None. All ranks call it."""
    for name, own in tensors(module).items():
        device = own.device_mesh.device_type if isinstance(own, DTensor) else own.device
        complete = torch.empty(own.shape, dtype=own.dtype, device=device) if values is None else values[name].to(device)
        if isinstance(own, DTensor):
            local(own).copy_(local(distribute_tensor(complete, own.device_mesh, own.placements)))
        else:
            dist.broadcast(complete, 0)
            own.copy_(complete)


def cut_like(complete: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return this rank's shard of complete values that every rank has, as `like` is split; as they are if it is not."""
    if not isinstance(like, DTensor) or like.shape != complete.shape:
        return complete
    return distribute_tensor(
        complete.to(like.device_mesh.device_type), like.device_mesh, like.placements, src_data_rank=None
    )


def local(values: torch.Tensor) -> torch.Tensor:
    """Return this rank's shard as a plain tensor that shares its memory."""
    return values.to_local() if isinstance(values, DTensor) else values


def complete(values: torch.Tensor) -> torch.Tensor:
    """Return complete values from the shards of all ranks, each of which must ask."""
    if not isinstance(values, DTensor):
        return values
    return values.to(values.device_mesh.device_type).full_tensor()


@torch.no_grad()
def gather(named: Iterable[tuple[str, torch.Tensor]], *, keep: bool = True) -> dict[str, torch.Tensor]:
    """Return complete values by name, on the CPU, from the shards of all ranks, each of which must ask.

    One at a time; a rank without `keep` gets nothing. What has two names stays one tensor.
    """
    sources, kept = dict(named), {}
    for values in {id(values): values for values in sources.values()}.values():
        everything = complete(values)
        if keep:
            kept[id(values)] = everything.detach().cpu().contiguous()
    return {name: kept[id(values)] for name, values in sources.items()} if keep else {}
