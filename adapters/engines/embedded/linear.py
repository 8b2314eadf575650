"""Linear layers with weights laid out for the processor once, instead of at every multiplication.

oneDNN multiplies few rows about twice as fast from its own blocked layout (measured on AVX-512 with
one to eight rows). The two operators are those that torch's own compiler uses for frozen models.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_pack = torch.ops.mkldnn._reorder_linear_weight.default
_multiply = torch.ops.mkldnn._linear_pointwise.default


class PackedLinear(nn.Module):
    """A linear layer for inference only: its weight can no longer be read or trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._weight = linear.weight.detach()
        self._packed = can_pack(self.dtype)
        if self._packed:
            self._weight = _pack(self._weight)

    def forward(self, x: Tensor) -> Tensor:
        if not self._packed:
            return F.linear(x, self._weight, self._bias)
        product: Tensor = _multiply(x, self._weight, self._bias, "none", [], "")
        return product


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this processor has a packed layout for the type; float32 gains nothing from it."""
    return dtype is torch.bfloat16 and fast_bfloat16()


def fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 with its own instructions."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
