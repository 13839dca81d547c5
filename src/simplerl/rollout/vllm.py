"""vLLM as a rollout backend, in this process: paged attention and prefix caching, for long responses on big models.

The engine is started without reading weights and is given those in memory, before the first request and after every
step; its cache is emptied then, and what is running is computed anew. A request's noise is addressed by its seed, so
its answer does not depend on its neighbours, a floating-point tie apart. On GPUs the package is `vllm`, on a CPU
`vllm-cpu` (tools/engines.py).

Split over several devices (`tensor_parallel`) the model is in worker processes of vLLM's, and so it is beside a learner
on several ranks, whose process group vLLM would take for its own. Each worker reads new weights from files in shared
memory and keeps its share. vLLM's interface for new weights takes them (`transfer.py`): its engine by nccl has no place
for a sender on a device of a worker's, and that by ipc wants all weights on each worker's device.
"""

import atexit
import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from simplerl.core.errors import ConfigError, EngineLost, ModelError, SimpleRLError
from simplerl.core.types import Completion, StopReason, VersionSpan
from simplerl.models.load import cache_bytes, load, weights_of
from simplerl.models.text import cut, special_stops
from simplerl.rollout.backend import Request, Sampling, check_prompts, diverged
from simplerl.rollout.wire import StoredWeights, shared_folder, write_weights

#: Before vllm is imported: one process, no telemetry, no access to the hub, threads as they are set for everybody.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TRITON_F32_DEFAULT": "ieee",  # On a GPU attention in fp32 would be TF32, further off than a proof allows.
}
MISSING = (
    "rollout.backend = vllm needs vLLM: pip install 'simplerl[vllm]', whose wheels are for CUDA. On a CPU: "
    "python tools/engines.py --only-make makes an environment with the package vllm-cpu"
)
#: Length of a folder's name that leaves room for that of a socket, which has at most 107 characters.
SOCKET_PATH = 70
#: Tokens a row that the cache has room for, beyond one row of the complete context.
ROOM = 512
#: Temperature to which vLLM raises lower ones, without a word.
LEAST_TEMPERATURE = 0.01
#: Seconds in which workers must have done what is asked of all of them: read weights.
WORKERS_S = 600.0


def cache_tokens(context_length: int, max_rows: int) -> int:
    """Return how many tokens the engine's cache has room for: a complete context, and a share for every row."""
    return context_length + min(max_rows * min(ROOM, context_length), 2**18)


def divisions(config: PretrainedConfig) -> list[int]:
    """Return over how many devices a model can be split: heads of keys and values are divided, or repeated."""
    text = config.get_text_config()
    heads, inner = text.num_attention_heads, getattr(text, "intermediate_size", None) or 0
    pairs = getattr(text, "num_key_value_heads", None) or heads
    return [n for n in range(1, heads + 1) if not heads % n and not inner % n and 0 in (pairs % n, n % pairs)]


def cache_shares(config: PretrainedConfig, parts: int) -> int:
    """Return into how many shares the cache is divided where a model is split. Raises ConfigError where it cannot."""
    text, fits = config.get_text_config(), divisions(config)
    pairs = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    if parts not in fits:
        inner = getattr(text, "intermediate_size", None)
        raise ConfigError(
            f"rollout.tensor_parallel = {parts} does not divide the model: it has {text.num_attention_heads} attention "
            f"heads, {pairs} of keys and values, and an intermediate size of {inner}; "
            f"give --rollout.tensor-parallel {' or '.join(map(str, fits))}"
        )
    return min(parts, pairs)


def halved(model: PreTrainedModel, precision: str) -> frozenset[str]:
    """Return the names of the weights that vLLM holds in bf16, whatever it is handed: half as much need be sent."""
    return frozenset(name for name, _ in model.named_parameters(remove_duplicate=False) if precision == "bf16")


def last_lines(error: Exception) -> str:
    """Return the end of what vLLM says, which may be pages."""
    return " ".join((str(error).strip() or type(error).__name__).splitlines()[-3:])


@functools.cache
def workers_environment(count: int) -> dict[str, str]:
    """Return what workers need besides: their threads, and where sockets are, which vLLM leaves behind."""
    folder = shared_folder(Path(tempfile.gettempdir()))  # As long as this process: vLLM reads the name once.
    atexit.register(folder.cleanup)
    sockets = {"VLLM_RPC_BASE_PATH": folder.name} if len(folder.name) < SOCKET_PATH else {}
    return {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count)), **sockets}


class VLLMBackend:
    """Samples by vLLM's engine from weights of its own."""

    exact = True
    between_tokens: Callable[[], None] | None = None
    """Called after every step of the engine; may `sync`."""

    def __init__(
        self,
        directory: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        stop_ids: frozenset[int],
        context_length: int,
        model: PreTrainedModel | None = None,
        precision: str = "fp32",
        max_rows: int = 512,
        tensor_parallel: int = 1,
    ):
        """Start the engine on the model's device, or over several. Raises ConfigError without vLLM, or where the model
        cannot be divided, ModelError where vLLM fails."""
        ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import vllm

            classes = vllm.ModelRegistry.models
        except ImportError as error:
            there = "" if error.name == "vllm" else f". It is installed, but cannot be imported: {error}"
            raise ConfigError(MISSING + there) from error
        self._vllm = vllm
        self.name, self.tokenizer, self.stop_ids, self.context_length = directory, tokenizer, stop_ids, context_length
        model = model or load(directory).model
        # What vLLM has no code of its own for it computes by Transformers' class, which it changes for this process.
        entry = classes.get(type(model).__name__)
        theirs = entry is None or getattr(entry, "class_name", "").startswith("Transformers")
        self._apart = max(tensor_parallel, ranks) > 1 or (theirs and not next(model.parameters()).is_meta)
        for name, value in (workers_environment(tensor_parallel) if self._apart else {}).items():
            os.environ.setdefault(name, value)
        shares = cache_shares(model.config, tensor_parallel)
        self._files = shared_folder(Path(tempfile.gettempdir()))
        for part in filter(None, (model.config, model.generation_config, tokenizer)):
            part.save_pretrained(self._files.name)
        try:
            self._engine = vllm.LLM(
                self._files.name,
                load_format="dummy",
                dtype={"fp32": "float32", "bf16": "bfloat16"}[precision],
                enforce_eager=vllm.platforms.current_platform.is_cpu(),
                tensor_parallel_size=tensor_parallel,
                distributed_executor_backend="mp" if self._apart else None,
                # In this process it would take the first GPU, whichever has the model.
                device_ids=[model.device.index] if model.device.index and not self._apart else None,
                use_tqdm_on_load=False,
                max_model_len=context_length,
                max_num_seqs=max_rows,
                gpu_memory_utilization=0.01,  # Else 92% of a GPU must be free, whatever the cache takes.
                kv_cache_memory_bytes=cache_tokens(context_length, max_rows)
                * cache_bytes(model.config, precision)
                // shares,
                logprobs_mode="processed_logprobs",
                generation_config="vllm",
                disable_log_stats=True,
                # A request with a seed whose prefill is cut in two crashes the engine.
                enable_chunked_prefill=False,
                max_num_batched_tokens=max(8192, context_length, max_rows),
                scheduling_policy="priority",  # Equal ones in the order in which they came.
                worker_extension_cls="simplerl.rollout.transfer.Worker",
                weight_transfer_config={"backend": "simplerl"},
            )
        except Exception as error:  # Anything may be wrong with a model that vLLM does not know.
            raise ModelError(f"vLLM does not start with {directory}: {last_lines(error)}") from error
        self._halved = halved(model, precision)
        self._requests = 0
        self._done: dict[str, Any] = {}
        """Name → output of what has ended and was not taken yet: also while another was asked for."""
        self.sync(weights_of(model), version=0)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Load new weights in place and empty the cache, which is of the old ones; what is running is computed anew."""
        with self._failing():
            self._take(weights)
            self._engine.llm_engine.set_weight_version(str(version))  # That of the tokens from now on.
            # What is running goes back to those that wait. It keeps its tokens, and its noise goes on where it was.
            self._engine.reset_prefix_cache(reset_running_requests=True)
        self.version = version

    def _take(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        # A tied head is a weight of its own to vLLM: it comes with the others, as `state_dict` has it.
        if self._apart and not isinstance(weights, StoredWeights):
            with shared_folder() as folder:
                self._take(write_weights(Path(folder, "weights"), weights, self._halved))
            return
        self._ask_workers("start_weight_update")
        self._ask_workers("update_weights", {"weights": weights})
        self._ask_workers("finish_weight_update")

    def _ask_workers(self, method: str, *given: Any) -> None:
        try:
            self._engine.collective_rpc(method, timeout=WORKERS_S, args=given)
        except TimeoutError as error:
            raise ModelError(f"a worker of vLLM's has not done {method} within {WORKERS_S:g} s: it hangs") from error

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Have what goes wrong within vLLM be one message; running out of memory has one of its own."""
        try:
            yield
        except (SimpleRLError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise EngineLost(f"vLLM has failed with {self.name}: {last_lines(error)}") from error

    def close(self) -> None:
        """End the engine and release its memory."""
        if engine := vars(self).pop("_engine", None):
            engine.llm_engine.engine_core.shutdown()
            self._files.cleanup()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as responses finish; the engine decides how many run at once.

        Raises ConfigError for temperatures that vLLM would raise.
        """
        if 0 < sampling.temperature < LEAST_TEMPERATURE:
            raise ConfigError(
                f"a temperature of {sampling.temperature} is drawn at {LEAST_TEMPERATURE} by vLLM: give 0 (greedy), at "
                f"least {LEAST_TEMPERATURE}, or --rollout.backend native"
            )
        ends = special_stops(self.tokenizer, sampling.stop) | frozenset(sampling.stop_ids)
        words = [text for text in sampling.stop if text not in self.tokenizer.all_special_tokens]
        indices: dict[str, int] = {}
        waiting: set[str] = set()

        def admit() -> None:
            """Hand the requests that are new to the engine."""
            new = range(len(indices), len(requests))
            check_prompts(requests[new.start : new.stop], self.context_length, self.name)
            for index in new:
                name = self._add(
                    requests[index].prompt_ids,
                    seed=requests[index].noise_key & (2**63 - 1),
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=sampling.top_k,
                    max_tokens=requests[index].limit(sampling, self.context_length),
                    stop=words or None,
                    include_stop_str_in_output=True,
                    stop_token_ids=sorted(ends | self.stop_ids),
                    ignore_eos=True,  # The ends are those of `stop_token_ids`.
                    detokenize=bool(words),
                    skip_special_tokens=True,
                    logprobs=0,
                )
                indices[name] = index
                waiting.add(name)

        admit()
        for outputs in self._steps(waiting):
            for output in outputs:
                yield indices[output.request_id], self._complete(output.outputs[0], sampling, ends)
            if waiting and self.between_tokens:
                self.between_tokens()
            admit()

    def logprobs(self, token_ids: Sequence[int]) -> np.ndarray:
        """Return float32 [T − 1]: log-probabilities of a text's tokens after the first, at temperature 1."""
        with self._failing():
            self._engine.reset_prefix_cache(reset_running_requests=True)  # What is running makes room.
        name = self._add(np.array(token_ids), max_tokens=1, prompt_logprobs=0, detokenize=False)
        (output,) = itertools.chain.from_iterable(self._steps({name}))
        return np.array(
            [row[token].logprob for row, token in zip(output.prompt_logprobs[1:], token_ids[1:], strict=True)],
            dtype=np.float32,
        )

    def _add(self, prompt_ids: np.ndarray, **settings: Any) -> str:
        """Hand a request to the engine; return its name there. A question comes before the responses that wait."""
        self._requests += 1
        flat = "prompt_logprobs" not in settings
        kind = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        parameters = self._vllm.SamplingParams(output_kind=kind, flat_logprobs=flat, **settings)
        # The salt keeps what was computed under other weights apart, were it still in the cache. A request that a sync
        # finds here keeps its own, of older weights: by then the cache holds nothing of those.
        prompt = {"prompt_token_ids": prompt_ids.tolist(), "cache_salt": str(self.version)}
        name, priority = str(self._requests), 0 if flat else -1
        with self._failing():
            self._engine.llm_engine.add_request(name, prompt, parameters, priority=priority)
        return name

    def _steps(self, waiting: set[str]) -> Iterator[list[Any]]:
        """Run the engine; yield after every step the outputs of the requests that wait, as far as they have ended."""
        engine = self._engine.llm_engine
        try:
            while waiting:
                if not self._done.keys() & waiting:
                    if not engine.has_unfinished_requests():
                        raise ModelError(f"vLLM lost {len(waiting)} requests")
                    with self._failing():
                        self._done |= {output.request_id: output for output in engine.step() if output.finished}
                names = [name for name in self._done if name in waiting]
                waiting.difference_update(names)
                yield [self._done.pop(name) for name in names]
        finally:
            if waiting:
                with self._failing():
                    engine.abort_request(list(waiting))
            for name in waiting:
                self._done.pop(name, None)

    def _complete(self, output: Any, sampling: Sampling, ends: frozenset[int]) -> Completion:
        ids, scored = list(output.token_ids), output.logprobs
        logprobs = np.array([scored.logprobs[start] for start in scored.start_indices], dtype=np.float32)
        if np.isnan(logprobs).any():
            raise diverged(self.name)
        if sampling.temperature == 0:
            logprobs = np.zeros_like(logprobs)  # Greedy decoding draws from what is certain.
        reason: StopReason = "stop"
        if ids[-1] in self.stop_ids:
            reason = "eos"
        elif output.finish_reason == "length":
            reason = "length"
        return Completion(
            token_ids=np.array(ids, dtype=np.int32),
            logprobs=logprobs,
            text=cut(self.tokenizer, ids[:-1] if reason == "eos" or ids[-1] in ends else ids, sampling.stop),
            stop_reason=reason,
            versions=tuple(VersionSpan(int(span.version), span.start, span.end) for span in output.weight_versions),
        )
