"""A critic's model: its own copy of a policy's backbone, and a linear head that gives every token a value."""

import copy

import torch
from transformers import PreTrainedModel

from simplerl.core.seeds import torch_seed
from simplerl.models.score import Prompts, autocast, predicting_hidden


class ValueModel(torch.nn.Module):
    """Estimates what a response will be worth, before each of its tokens."""

    def __init__(self, model: PreTrainedModel, *, seed: int, precision: str):
        """Copy the backbone of `model`; the head has no bias and is drawn with std 1/(H + 1), addressed by `seed`."""
        super().__init__()
        self.backbone = copy.deepcopy(model.base_model)  # Where the policy has adapters, the critic has its own.
        size = model.config.get_text_config().hidden_size
        device = next(model.parameters()).device
        device = torch.device("cpu") if device.type == "meta" else device  # The head is drawn, whatever files hold.
        drawn = torch.Generator().manual_seed(torch_seed(seed, "value-head"))
        weight_1H = torch.randn(1, size, generator=drawn) / (size + 1)
        self.head = torch.nn.Linear(size, 1, bias=False, device=device)
        with torch.no_grad():
            self.head.weight.copy_(weight_1H)
        self.precision = precision
        self.packs = "flash" in str(model.config._attn_implementation)

    def forward(
        self,
        tokens_BT: torch.Tensor,
        mask_BT: torch.Tensor,
        lengths_B: torch.Tensor,
        prompts: Prompts | None = None,
    ) -> torch.Tensor:
        """Return fp32 values_BT: at each masked token the value of what stands before it; 0 elsewhere."""
        with autocast(tokens_BT.device, self.precision):
            hidden_NH = predicting_hidden(self.backbone, tokens_BT, mask_BT, lengths_B, prompts, packs=self.packs)
        with torch.autocast(tokens_BT.device.type, enabled=False):
            values_N = self.head(hidden_NH.float()).squeeze(-1)
        zeros_BT = torch.zeros(tokens_BT.shape, dtype=torch.float32, device=tokens_BT.device)
        return zeros_BT.index_put(mask_BT.nonzero(as_tuple=True), values_N)
