"""LoRA (Hu et al., arXiv 2106.09685): a frozen model and, beside its linear layers, small matrices that are trained.

The adapters are put into the model where it stands (by peft, the extra `lora`), so that everyone else sees the model it
was: its backbone, its head, its configuration. Without them it is its own reference. A checkpoint holds the adapters
alone, in peft's format; `models/load.py` merges them into the model that they were trained on.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from transformers import PreTrainedModel

from simplerl.core.errors import ConfigError, ModelError, first_few
from simplerl.core.seeds import torch_seed

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: What peft puts before a weight's name in its files.
PREFIX = "base_model.model."
#: What follows a weight's name where, in its place, two matrices are sent whose product is added to it.
LEFT, RIGHT = ".left", ".right"


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ConfigError("LoRA needs the package peft: pip install 'simplerl[lora]'") from error
    return peft


def add(model: PreTrainedModel, *, rank: int, alpha: float, targets: Sequence[str], base: str, seed: int) -> None:
    """Freeze a model and put adapters beside its linear layers, or those that `targets` name (all but the head).

    `alpha` over the rank scales what they add; 0 is twice the rank. They add nothing until they are trained. `base` is
    what the model is loaded by; the first values are addressed by `seed`. Raises ConfigError.
    """
    peft = _peft()
    where = str(Path(base).resolve()) if Path(base).is_dir() else base
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules=list(targets) or "all-linear",
        task_type="CAUSAL_LM",
        base_model_name_or_path=where,
    )
    linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if is_linear(module)})
    heads = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    try:
        with torch.random.fork_rng(devices=[]):
            peft.inject_adapter_in_model(config, model)
    except ValueError as error:
        raise ConfigError(
            f"lora.targets = {', '.join(targets) or 'all linear layers'}: {type(model).__name__} has no such linear "
            f"layers; its own are {', '.join(linear)}"
        ) from error
    if heads != {id(model.get_input_embeddings()), id(model.get_output_embeddings())}:
        raise ConfigError(f"lora.targets = {', '.join(targets)}: the embeddings and the head cannot have adapters here")
    start_anew(model, seed)


def is_linear(module: torch.nn.Module) -> bool:
    """Return whether a layer is one that may have an adapter."""
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def has_adapters(model: torch.nn.Module) -> bool:
    """Return whether a model has adapters."""
    return any(hasattr(module, "lora_A") for module in model.modules())


def start_anew(model: PreTrainedModel, seed: int) -> None:
    """Give the adapters the values that they had at the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "lora"))
        for layer in _layers(model).values():
            layer.reset_lora_parameters("default", True)


def _layers(model: torch.nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Have a model compute what it would without its adapters."""
    layers = _layers(model).values()
    for layer in layers:
        # Not `enable_adapters`: it has the adapters need no gradient meanwhile, and shards would stay so.
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


@torch.no_grad()
def merged(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of the model that computes the same without adapters, by its own names, one at a time."""
    layers = _layers(model)
    for name, values in model.state_dict(keep_vars=True).items():
        owner, _, last = name.rpartition(".")
        plain = owner.removesuffix(".base_layer")
        if ".lora_" in name:
            continue
        if owner != plain and last == "weight":
            values = values + layers[plain].get_delta_weight("default")
        yield f"{plain}.{last}", values


@torch.no_grad()
def factors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what adapters add to weights: `NAME.left` times `NAME.right`, scaled, of the form that the weight has."""
    for name, layer in _layers(model).items():
        left = layer.lora_B["default"].weight * layer.scaling["default"]
        right = layer.lora_A["default"].weight
        if layer.fan_in_fan_out:  # As Conv1D keeps its weight.
            left, right = right.T, left.T
        yield f"{name}.weight{LEFT}", left
        yield f"{name}.weight{RIGHT}", right


def are_factors(weights: Iterable[tuple[str, torch.Tensor]]) -> bool:
    """Return whether these are what `factors` yields, not weights."""
    return any(name.endswith((LEFT, RIGHT)) for name, _ in itertools.islice(weights, 1))


def add_factors(
    base: Iterable[tuple[str, torch.Tensor]], weights: Iterable[tuple[str, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a model's weights with what `factors` has yielded added. Raises ModelError where they do not fit."""
    added = dict(weights)
    for name, values in base:
        if name + LEFT in added:
            values = values + added.pop(name + LEFT) @ added.pop(name + RIGHT)
        yield name, values
    if added:
        raise ModelError(f"the model has no weights for these adapters: {first_few(sorted(added))}")


def parameters(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the adapters' weights by their names in peft's files."""
    named = model.named_parameters()
    return {PREFIX + name.replace(".default.", "."): values for name, values in named if ".lora_" in name}


def save(model: Any, directory: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write adapters as a directory that peft can load, with the model's configuration beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(directory)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    model.peft_config["default"].save_pretrained(directory)
    safetensors.torch.save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})


@torch.no_grad()
def restore(model: PreTrainedModel, directory: Path) -> None:
    """Fill the adapters of a model from a checkpoint. Raises ModelError where they are others."""
    saved = safetensors.torch.load_file(directory / WEIGHTS) if (directory / WEIGHTS).is_file() else {}
    own = parameters(model)
    shapes = {name: values.shape for name, values in own.items()}
    if shapes != {name: values.shape for name, values in saved.items()}:
        raise ModelError(f"{directory} holds other adapters than those of this run, or none: it was changed")
    for name, values in own.items():
        values.copy_(saved[name])


def base_of(directory: Path) -> str:
    """Return what the adapters of a directory were trained on; empty where it holds no adapters. Raises ModelError."""
    if not (directory / CONFIG).is_file():
        return ""
    try:
        base = json.loads((directory / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{directory / CONFIG} does not say what its adapters were trained on: {error!r}") from error
    if not isinstance(base, str) or not base:
        raise ModelError(f"{directory / CONFIG}: base_model_name_or_path = {base!r} is not a model")
    return base


def merge_from(model: PreTrainedModel, directory: str) -> PreTrainedModel:
    """Return the model with the adapters of a directory merged into its weights, to be trained on as a whole.

    Raises ModelError where its file does not hold exactly these adapters: peft leaves out what it does not find.
    """
    peft, file = _peft(), Path(directory) / WEIGHTS
    if not file.is_file():  # Else peft reads a pickle.
        raise ModelError(f"{directory} holds no {WEIGHTS}: adapters are read from safetensors alone")
    adapted = peft.PeftModel.from_pretrained(model, directory)
    own = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    with safetensors.safe_open(file, "pt") as content:
        wrong = sorted(name for name in own ^ {*content.keys()} if name in own or ".lora_" in name)
    if wrong:
        raise ModelError(
            f"{file} does not hold the adapters that {CONFIG} says, of this model: {len(wrong)} are missing or of "
            f"another ({first_few(wrong)})"
        )
    return adapted.merge_and_unload().requires_grad_(True)  # Peft has frozen it.
