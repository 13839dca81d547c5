"""How vLLM takes our weights: a transfer engine of our own behind vLLM's interface for it.

vLLM's workers import this module by the name of `Worker`, which registers the engine there. Imports vLLM.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, initialize_layerwise_reload

from simplerl.core.errors import ModelError

#: What vLLM knows it by.
NAME = "simplerl"


@dataclass
class Weights(WeightTransferUpdateInfo):
    """What is taken: all weights, by the names that the model's files have, a tied head among them."""

    weights: Iterable[tuple[str, torch.Tensor]]


class Transfer(WeightTransferEngine[WeightTransferInitInfo, Weights]):
    """Takes all weights from this process's memory, or from files; each worker keeps its share."""

    init_info_cls, update_info_cls = WeightTransferInitInfo, Weights

    def init_transfer_engine(self, init_info: WeightTransferInitInfo) -> None:
        """Nobody has to be met."""

    def start_weight_update(self) -> None:
        """Prepare every layer to take weights in the form of files."""
        self.wanted = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Iterable[tuple[str, torch.Tensor]]]) -> None:
        """Take weights, and wait until they are there."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Weights) -> None:
        """Take weights. Raises ModelError where the model has one that is not among them."""
        has_head = hasattr(self.model, "lm_head")  # Else, of tied weights, it is no weight of its own.
        taken = self.model.load_weights(
            (name, values.detach()) for name, values in update_info.weights if has_head or name != "lm_head.weight"
        )
        if taken is not None and (left := self.wanted - taken):
            raise ModelError(f"vLLM has not taken {len(left)} weights, of which one is {min(left)}")

    def finish_weight_update(self) -> None:
        """Put what was taken where the engine computes with it."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """There is nothing to release."""


class Worker:
    """Extends a worker of vLLM's by nothing."""


if NAME not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine(NAME, Transfer)
