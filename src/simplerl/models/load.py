"""Load any Hugging Face causal language model and its tokenizer: a cub, a directory, a hub name or a run's checkpoint.

Remote code is never executed and pickled weights are never read. Weights are held in fp32; precision is a matter of
autocast. What is added to a prompt besides its template is decided in one place, `data/prompts.py`.
"""

import contextlib
import copy
import hashlib
import importlib.util
import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils import hub as transformers_hub
from transformers.utils import logging as transformers_logging

from simplerl.core.errors import ModelError, SimpleRLError, first_few, nearest
from simplerl.models import attention as grouped_attention
from simplerl.models import cub, lora

transformers_logging.disable_progress_bar()

#: What `from_pretrained` says of the files: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
Report = Mapping[str, Collection[Any]]
#: The number of a layer in the name of a weight.
_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """A model with what is needed to speak to it."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]
    """Tokens that end a response: the tokenizer's EOS and those of the generation config."""
    context_length: int
    """Tokens of prompt and response together that the model was made for."""
    context_note: str = ""
    """Why that is fewer than the model's configuration says, where it is."""

    @property
    def embeddings(self) -> int:
        """Number of tokens that the model can take."""
        return embeddings_of(self.model)

    @property
    def end_token(self) -> int:
        """The token that ends a response."""
        end = self.tokenizer.eos_token_id
        return min(self.stop_ids) if end is None else end

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, nothing added. Raises ModelError for a token that the model lacks."""
        return self.check(self.tokenizer.encode(text, add_special_tokens=False), "text")

    def check(self, ids: list[int], what: str) -> list[int]:
        """Return the ids if the model has an embedding for each. Raises ModelError, naming the first that has none."""
        size = self.embeddings
        if ids and max(ids) >= size:
            odd = next(token for token in ids if token >= size)
            raise ModelError(
                f"the tokenizer of {self.name!r} does not fit its model: token {odd} "
                f"({self.tokenizer.convert_ids_to_tokens(odd)!r}) in the {what} has no embedding "
                f"({len(self.tokenizer)} tokens for {size} embeddings). Use the model's own tokenizer, or a template "
                "without that token"
            )
        return ids


def embeddings_of(model: PreTrainedModel) -> int:
    """Return the number of tokens that a model can take."""
    layer: Any = model.get_input_embeddings()
    return layer.weight.shape[0]


def locate(name: str) -> str:
    """Return the directory of a cub, of a local model, or of a run's newest checkpoint; else the name (of the hub)."""
    if name in cub.NAMES:
        return str(cub.path(name))
    directory = Path(name).expanduser()
    if directory.is_dir():
        if (directory / "config.json").is_file() and not (directory / "checkpoints").is_dir():
            return str(directory)
        checkpoints = sorted((directory / "checkpoints").glob("step_*"))
        if checkpoints:
            return str(checkpoints[-1])
        raise ModelError(
            f"{name} is a directory, but neither a Hugging Face model (config.json) nor a run with checkpoints"
        )
    if directory.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"model directory {name} does not exist")
    if "/" not in name:
        raise ModelError(
            f"unknown model {name!r}; {nearest(name, cub.NAMES)} A directory or a hub name (owner/name) works too."
        )
    return name


def pick_attention(wanted: str, device: torch.device, *, half: bool) -> str:
    """Return the attention implementation: what was asked for, or what is fastest on the device.

    On a CPU that is `grouped` (`models/attention.py`), which is `eager` without its copies: eager attention trains a
    tiny model about twice as fast as SDPA under bf16 autocast. Flash attention knows no fp32, so it is picked only
    where everything runs in bf16 (`half`).
    """
    if wanted == "flash_attention_2" and not half:
        raise ModelError("flash_attention_2 needs bf16: set learner.precision and rollout.precision to bf16")
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return grouped_attention.NAME
    return "flash_attention_2" if half and importlib.util.find_spec("flash_attn") else "sdpa"


def locate_and_hash(name: str) -> dict[str, str]:
    """Return where a model was found, and the SHA-256 of its weight files (of its name, on the hub) and of the
    files beside them that decide what it does: tokenizer, configuration, stop tokens."""
    source = Path(locate(name))
    digest = hashlib.sha256(b"" if source.is_dir() else name.encode())
    if base := lora.base_of(source):
        digest.update(locate_and_hash(base)["sha256"].encode())
    for file in sorted(source.glob("*.safetensors")) if source.is_dir() else ():
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    words = hashlib.sha256()
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json", "generation_config.json")
    for beside in names:
        words.update((source / beside).read_bytes() if (source / beside).is_file() else b"")
    return {"path": str(source), "sha256": digest.hexdigest(), "tokenizer_sha256": words.hexdigest()}


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model alone. Raises ModelError."""
    source = locate(name)
    try:
        return _with_words(AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    except Exception as error:  # Transformers and tokenizers each raise their own kinds for a bad file.
        raise ModelError(f"cannot load the tokenizer of {name!r} from {source}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first line of an error's message; its kind where there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _with_words(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return the tokenizer if it knows any text: from a directory without one, Transformers makes an empty one."""
    if not tokenizer.encode("1 a\n", add_special_tokens=False):
        raise ValueError("there is no tokenizer (tokenizer.json), or one without vocabulary")
    return tokenizer


def load(name: str, *, device: str | torch.device = "cpu", attention: str = "", bare: bool = False) -> Policy:
    """Load a model (fp32) and its tokenizer. Raises ModelError, saying what to do, for anything that cannot be used.

    `attention` is an implementation from `pick_attention`; empty picks one that fp32 can use. `bare`: weights
    stay in their files, of which ranks read their shards (`sharding.read`), wherever these hold them as the model does.
    """
    device = torch.device(device)
    attention = attention or pick_attention("auto", device, half=False)
    grouped = attention == grouped_attention.NAME
    source = locate(name)
    try:
        tokenizer = _with_words(AutoTokenizer.from_pretrained(source, trust_remote_code=False))
        implementation = "eager" if grouped else attention
        model, report = (bare and _bare(source, implementation)) or _read(source, implementation)
    except SimpleRLError:
        raise
    except Exception as error:  # Transformers, tokenizers and safetensors each raise their own kinds for a bad file.
        raise ModelError(
            f"cannot load model {name!r} from {source}: {_reason(error)}\n"
            f"Give a cub ({', '.join(cub.NAMES)}), a Hugging Face model directory with safetensors weights, or a hub "
            "name; a hub model that is already in the local cache also loads with HF_HUB_OFFLINE=1."
        ) from error
    if has_values := not files_of(model):
        check_weights(name, model, report)
        model = model.to(device)
    if grouped:
        tried = model if has_values else few_layers(model)
        grouped_attention.adopt(tried)
        if tried.config._attn_implementation != model.config._attn_implementation:
            model.set_attn_implementation(grouped_attention.NAME)
    return policy_of(model, tokenizer, name=name)


def _read(source: str, attention: str) -> tuple[PreTrainedModel, Report]:
    """Return a model and where its files do not fit it; adapters are merged into their base."""
    if base := lora.base_of(Path(source)):
        try:
            directory = locate(base)
        except ModelError as error:
            raise ModelError(f"{source} holds adapters of {base!r} (base_model_name_or_path): {error}") from error
        model, report = _read(directory, attention)
        return lora.merge_from(model, source), report
    return AutoModelForCausalLM.from_pretrained(
        source,
        dtype=torch.float32,
        attn_implementation=attention,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # They are named by `check_weights`.
    )


def _beyond(stored: Iterable[str], own: Collection[str]) -> list[str]:
    """Return the stored weights that the model has under other numbers only: those of further layers."""
    forms = {_NUMBER.sub(".N.", name) for name in own}
    return sorted(name for name in stored if name not in own and _NUMBER.sub(".N.", name) in forms)


def _bare(source: str, attention: str) -> tuple[PreTrainedModel, Report] | None:
    """Return a model on the meta device whose modules say where their weights are: `stored`, name → (file, key).

    Buffers have their values. None where the files do not hold exactly the model's weights, under its own names.
    """
    if lora.base_of(Path(source)):
        return None
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": attention, "trust_remote_code": False}
    register = torch.nn.Module.register_parameter

    def without_values(module: torch.nn.Module, name: str, values: torch.nn.Parameter | None) -> None:
        if values is not None and not values.is_meta:  # Else it may be tied to another.
            values = torch.nn.Parameter(values.to("meta"), requires_grad=values.requires_grad)
        register(module, name, values)

    torch.nn.Module.register_parameter = without_values  # type: ignore[method-assign]
    try:
        model = AutoModelForCausalLM.from_config(config, **options).eval()
    finally:
        torch.nn.Module.register_parameter = register  # type: ignore[method-assign]
    places: dict[str, tuple[str, list[int]]] = {}
    for file in _weight_files(source):
        with safetensors.safe_open(file, "pt") as content:
            places |= {key: (file, content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
    own = dict(model.named_parameters())
    tied = dict(model.named_parameters(remove_duplicate=False)).keys() - own.keys()
    same = all(name in places and places[name][1] == list(values.shape) for name, values in own.items())
    kept = model.state_dict().keys() - own.keys() - tied
    if not same or kept or tied & places.keys() or hasattr(config, "quantization_config") or _beyond(places, own):
        return None
    for name in own:
        owner, _, leaf = name.rpartition(".")
        vars(model.get_submodule(owner)).setdefault("stored", {})[leaf] = places[name][0], name
    with contextlib.suppress(OSError):  # There need not be one.
        model.generation_config = GenerationConfig.from_pretrained(source)
    return model, {}


def _weight_files(source: str) -> list[str]:
    """Return the files of a model's weights, of the cache where it is on the hub."""
    for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        with contextlib.suppress(OSError):
            file = str(transformers_hub.cached_file(source, name))
            return [file] if name == SAFE_WEIGHTS_NAME else transformers_hub.get_checkpoint_shard_files(source, file)[0]
    return []


def files_of(model: torch.nn.Module) -> set[Path]:
    """Return the files with the weights of a model that was loaded bare; none for one that has values."""
    return {Path(file) for module in model.modules() for file, _ in vars(module).get("stored", {}).values()}


def weights_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a model's weights by name, tied ones under each; of one that was loaded bare from its files."""
    places = {
        id(module.get_parameter(leaf)): place
        for module in model.modules()
        for leaf, place in vars(module).get("stored", {}).items()
    }
    for name, values in model.state_dict(keep_vars=True).items():
        if place := places.get(id(values)):
            with safetensors.safe_open(place[0], "pt") as content:
                yield name, content.get_tensor(place[1])
        else:
            yield name, values.detach()


def check_weights(name: str, model: PreTrainedModel, report: Report | None = None) -> None:
    """Raise ModelError for weights that the files do not hold (they would be random) or hold for a larger model, or
    that are not numbers. `report` is what Transformers says of the files."""
    report = report or {}
    if wrong := [f"{key} {list(theirs)} for {list(ours)}" for key, theirs, ours in report.get("mismatched_keys", ())]:
        raise ModelError(
            f"the files of {name!r} hold {len(wrong)} weights of another shape than config.json says "
            f"({first_few(sorted(wrong))}): one of the two is of another model"
        )
    if beyond := _beyond(report.get("unexpected_keys", ()), model.state_dict().keys()):
        raise ModelError(
            f"the files of {name!r} hold {len(beyond)} weights of layers that config.json leaves out "
            f"({first_few(beyond)}): num_hidden_layers is too small, or the files are of another model"
        )
    if missing := report.get("missing_keys"):
        raise ModelError(
            f"the files of {name!r} hold no values for {len(missing)} of its weights ({first_few(sorted(missing))}), "
            "which would be random: config.json does not fit model.safetensors (tie_word_embeddings and "
            "num_hidden_layers are the usual ones), or the files are not complete"
        )
    # A sum is not a number if any of its terms is not: one pass, and the exact look only where it fails.
    damaged = [key for key, values in model.named_parameters() if not values.detach().sum().isfinite()]
    check_finite(name, [key for key in damaged if not bool(model.get_parameter(key).isfinite().all())])


def check_finite(name: str, damaged: Sequence[str]) -> None:
    """Raise ModelError where weights are not numbers, naming them."""
    if damaged:
        raise ModelError(
            f"weights of {name!r} are not numbers (NaN or infinite) in {len(damaged)} tensors ({first_few(damaged)}): "
            "the training that wrote them diverged, or the file is damaged; use an earlier checkpoint"
        )


def policy_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str) -> Policy:
    """Return a loaded model as a policy, its dropout set to 0. Raises ModelError where the tokenizer does not fit."""
    _disable_dropout(model)
    length, note = _context(model)
    stop_ids = _stop_ids(name, model, tokenizer)
    return Policy(
        name=name, model=model, tokenizer=tokenizer, stop_ids=stop_ids, context_length=length, context_note=note
    )


def _context(model: PreTrainedModel) -> tuple[int, str]:
    """Return the tokens that a model can take, and why they are fewer than its configuration says, where they are.

    Rotary frequencies that change with the longest row of a batch (longrope) would give a row other probabilities
    beside a longer one, and a token others than it was sampled with: such models are used as far as they do not change.
    """
    config = model.config.get_text_config()
    length = int(getattr(config, "max_position_embeddings", 0) or 2**31)
    rope = getattr(config, "rope_parameters", None) or {}
    tables = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    for table in tables:
        original = table.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        if table.get("rope_type") == "longrope" and original and original < length:
            return int(original), (
                f"rotary frequencies (longrope) change beyond {original} tokens for every row of a batch at once, so "
                f"its context is used up to there, not up to {length}"
            )
    return length, ""


def few_layers(model: PreTrainedModel) -> PreTrainedModel:
    """Return a small model like one without values, to try things on: the first layers of every kind, few tokens."""
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or [""] * text.num_hidden_layers
    text.num_hidden_layers = min(len(kinds), max(2, *(kinds.index(each) + 1 for each in set(kinds))))
    text.vocab_size, text.pad_token_id = min(text.vocab_size, 1024), None
    if any(kinds):
        with contextlib.suppress(AttributeError):  # It follows from their number.
            text.layer_types = kinds[: text.num_hidden_layers]
    with torch.random.fork_rng(devices=[]):
        return AutoModelForCausalLM.from_config(config, attn_implementation=model.config._attn_implementation)


def weights_hash(model: PreTrainedModel) -> str:
    """Return the SHA-256 over names and values of a model's parameters, for a model that has no files."""
    digest = hashlib.sha256()
    for name, values in model.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def cache_bytes(config: PretrainedConfig, precision: str) -> int:
    """Return the bytes of keys and values that a model of some configuration keeps for a token."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * (2 if precision == "bf16" else 4)


def cache_argument(backbone: torch.nn.Module) -> str:
    """Return what a backbone's forward calls its cache: transformers 5 renames `past_key_values` to `cache`."""
    return "cache" if "cache" in inspect.signature(backbone.forward).parameters else "past_key_values"


def recompute_activations(model: PreTrainedModel) -> None:
    """Have a model compute its layers' activations again in the backward pass instead of keeping them."""
    # The old name is the only one in the first versions of transformers 5 and goes away in version 6.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _disable_dropout(model: PreTrainedModel) -> None:
    """Set every dropout to 0: the policy that is scored must be the policy that was sampled."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _stop_ids(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Collect the end-of-text tokens of tokenizer and generation config."""
    ids: set[int] = set()
    for value in (tokenizer.eos_token_id, model.generation_config.eos_token_id if model.generation_config else None):
        ids |= set(value) if isinstance(value, (list, tuple)) else {value} if value is not None else set()
    size = embeddings_of(model)
    if not ids:
        raise ModelError(
            f"the tokenizer of {name!r} has no end-of-text token, so no response could ever end; "
            "set eos_token in its tokenizer_config.json"
        )
    # A tokenizer may know tokens that the model lacks (Gemma's image token, say), as long as none is ever used:
    # `Policy.check` looks at every prompt.
    if max(ids) >= size:
        raise ModelError(
            f"the tokenizer of {name!r} does not fit its model: its end-of-text tokens are {sorted(ids)}, of "
            f"{len(tokenizer)} tokens for {size} embeddings"
        )
    return frozenset(ids)
