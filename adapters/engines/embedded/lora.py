"""LoRA adapters: reading and checking a PEFT folder, and applying several adapters in one forward
pass.

Each adaptable linear layer multiplies by the stacked factors of all adapters in the batch; a gate
of zeros and ones keeps each token to its own adapter's columns. On a CPU two small dense products
cost less than a loop over adapters or a gather for every token, and with no adapter in the batch
nothing is added at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from adapters.engines.embedded.linear import PackedLinear

# Steps after which adapters that no token used are dropped from the stack: rebuilding it costs
# milliseconds, and so does every step with columns that nobody needs.
_IDLE_STEPS = 32


# A [r, in] and B [out, r] of one layer in float32, B times the scaling.
Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Adapter:
    """One loaded version. Compared by identity: reloaded under its name, it is another one."""

    name: str
    path: str
    rank: int  # the highest of its layers
    factors: Mapping[str, Factors]  # by name of the layer


class AdaptableLinear(PackedLinear):
    """A linear layer of the base model, plus the adapters now in the batch."""

    def __init__(self, linear: nn.Linear, batch: "AdapterBatch") -> None:
        super().__init__(linear)
        self._batch = batch
        self._down: Tensor | None = None  # [columns, in]
        self._up: Tensor | None = None  # [columns, out]

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self._down is None or self._up is None or not self._batch.active:
            return out
        # In float32, as PEFT computes: these products are so small that oneDNN's bfloat16
        # multiplication would spend four times as long on setting itself up.
        hidden = F.linear(x.view(-1, self.in_features).float(), self._down)
        if self._batch.gate is not None:
            hidden *= self._batch.gate
        out.view(-1, self.out_features).add_(hidden.mm(self._up))
        return out

    def stack(self, factors: Sequence[Factors | None], ranks: Sequence[int]) -> None:
        """Take the adapters' factors, padded to each one's rank; None where it has none."""
        if not any(factors):
            self._down = self._up = None
            return
        columns = sum(ranks)
        self._down = torch.zeros(columns, self.in_features)
        self._up = torch.zeros(columns, self.out_features)
        first = 0
        for pair, rank in zip(factors, ranks, strict=True):
            if pair is not None:
                a, b = pair
                self._down[first : first + len(a)] = a
                self._up[first : first + len(a)] = b.T
            first += rank


class AdapterBatch:
    """Which adapters the layers hold now, and which tokens of this step use which."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Replace the model's linear layers, in place; all but the output head become adaptable."""
        self.active = False
        # [tokens, columns]; None when every token uses every column
        self.gate: Tensor | None = None
        self.layers: dict[str, AdaptableLinear] = {}
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        for name, module in list(model.named_modules()):
            if module is head:
                model.set_submodule(name, PackedLinear(module))
            elif type(module) is nn.Linear:
                self.layers[name] = AdaptableLinear(module, self)
                model.set_submodule(name, self.layers[name])
        self._stack: dict[Adapter, int] = {}  # -> steps since a token used it
        # [adapters + 1, columns]; the last row, all zeros, is the base
        self._columns = torch.zeros(0, 0)

    def select(self, tokens: Sequence[Adapter | None]) -> None:
        """Prepare the layers for a step whose tokens use these adapters."""
        needed = {adapter for adapter in tokens if adapter is not None}
        self.active = bool(needed)
        if not needed:
            return
        for adapter in self._stack:
            self._stack[adapter] = 0 if adapter in needed else self._stack[adapter] + 1
        if needed - self._stack.keys() or max(self._stack.values()) > _IDLE_STEPS:
            kept = [adapter for adapter, idle in self._stack.items() if idle <= _IDLE_STEPS]
            self._restack(kept + [adapter for adapter in needed if adapter not in self._stack])
        self._gate(tokens)

    def _restack(self, adapters: list[Adapter]) -> None:
        self._stack = dict.fromkeys(adapters, 0)
        ranks = [adapter.rank for adapter in adapters]
        self._columns = torch.zeros(len(adapters) + 1, sum(ranks))
        first = 0
        for index, rank in enumerate(ranks):
            self._columns[index, first : first + rank] = 1
            first += rank
        for name, layer in self.layers.items():
            layer.stack([adapter.factors.get(name) for adapter in adapters], ranks)

    def _gate(self, tokens: Sequence[Adapter | None]) -> None:
        if len(self._stack) == 1 and None not in tokens:
            self.gate = None
            return
        index = {adapter: row for row, adapter in enumerate(self._stack)}
        rows = [len(index) if adapter is None else index[adapter] for adapter in tokens]
        self.gate = self._columns[torch.tensor(rows)]
