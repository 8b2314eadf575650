"""A BERT sentence encoder's weights to an ONNX graph in 8-bit integers.

Built node by node, so that a fit needs neither torch nor a conversion. Weights have a scale for
each column, activations one for each text, found while it runs. Serving needs none of this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]

INPUT = "ids"
OUTPUT = "vector"
# onnxruntime's fused operators: DynamicQuantizeMatMul and MultiHeadAttention.
FUSED = "com.microsoft"
OPERATORS = 20
FILE_FORMAT = 10
# Seven bits: without VNNI instructions, products of eight overflow and vectors would depend on the
# processor. It costs 0.001 of cosine.
LARGEST_WEIGHT = 63
LARGEST_WORD = 127


def exported(tensors: Tensors, layers: int, heads: int, epsilon: float, tokens: int) -> bytes:
    """A model from token ids [1, n], n up to `tokens`, to a unit vector [1, dimension].

    `tensors` are named as transformers' BertModel names them. Raises KeyError if one is missing.
    """
    graph = _Graph(tensors, epsilon)
    hidden = graph.embedded(tokens)
    for layer in range(layers):
        hidden = graph.through(f"encoder.layer.{layer}", hidden, heads)
    return graph.model(hidden)


class _Graph:
    """Nodes and constants so far; methods add some and return the name of their result."""

    def __init__(self, tensors: Tensors, epsilon: float) -> None:
        self._tensors = tensors
        self._epsilon = epsilon
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def embedded(self, tokens: int) -> str:
        """What the tokens and their places are, a word's row in eight bits with its own scale."""
        rows, scales = _quantised(self._float("embeddings.word_embeddings.weight").T, LARGEST_WORD)
        found = self._node("Gather", self._constant(rows.T), INPUT)
        scale = self._node("Gather", self._constant(scales[:, None]), INPUT)
        words = self._node("Mul", self._node("Cast", found, to=TensorProto.FLOAT), scale)
        places = self._float("embeddings.position_embeddings.weight")[:tokens]
        kind = self._float("embeddings.token_type_embeddings.weight")[0]
        start, size = self._constant(np.array([0])), self._node("Shape", INPUT, start=1)
        here = self._node("Slice", self._constant(places + kind), start, size, start)
        return self._normalised(self._node("Add", words, here), "embeddings.LayerNorm")

    def through(self, layer: str, hidden: str, heads: int) -> str:
        parts = [f"{layer}.attention.self.{name}" for name in ("query", "key", "value")]
        joint = self._dense(hidden, *parts)
        self._node("Split", joint, results=parts, axis=2, num_outputs=3)
        gathered = self._node("MultiHeadAttention", *parts, domain=FUSED, num_heads=heads)
        mixed = self._node("Add", self._dense(gathered, f"{layer}.attention.output.dense"), hidden)
        mixed = self._normalised(mixed, f"{layer}.attention.output.LayerNorm")
        wide = self._node("Gelu", self._dense(mixed, f"{layer}.intermediate.dense"))
        narrow = self._node("Add", self._dense(wide, f"{layer}.output.dense"), mixed)
        return self._normalised(narrow, f"{layer}.output.LayerNorm")

    def model(self, hidden: str) -> bytes:
        mean = self._node("ReduceMean", hidden, self._constant(np.array([1])), keepdims=0)
        self._node("LpNormalization", mean, results=[OUTPUT], axis=1, p=2)
        width = self._tensors["embeddings.LayerNorm.bias"].shape[0]
        graph = helper.make_graph(
            self._nodes,
            "sentence encoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, width])],
            self._constants,
        )
        versions = [helper.make_opsetid("", OPERATORS), helper.make_opsetid(FUSED, 1)]
        made = helper.make_model(graph, opset_imports=versions, ir_version=FILE_FORMAT)
        return bytes(made.SerializeToString(deterministic=True))

    def _dense(self, inputs: str, *layers: str) -> str:
        """The products of one or more linear layers with `inputs`, side by side."""
        weights = np.concatenate([self._float(f"{layer}.weight") for layer in layers]).T
        biases = np.concatenate([self._float(f"{layer}.bias") for layer in layers])
        columns, scales = _quantised(weights, LARGEST_WEIGHT)
        parts = (self._constant(columns), self._constant(scales), "", self._constant(biases))
        return self._node("DynamicQuantizeMatMul", inputs, *parts, domain=FUSED)

    def _normalised(self, inputs: str, layer: str) -> str:
        scale = self._constant(self._float(f"{layer}.weight"))
        shift = self._constant(self._float(f"{layer}.bias"))
        return self._node("LayerNormalization", inputs, scale, shift, epsilon=self._epsilon)

    def _node(
        self, kind: str, *inputs: str, results: Sequence[str] = (), domain: str = "", **how: Any
    ) -> str:
        outputs = list(results) or [f"result {len(self._nodes)}"]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, domain=domain, **how))
        return outputs[0]

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = f"constant {len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _float(self, name: str) -> Floats:
        return self._tensors[name].astype(np.float32)


def _quantised(weights: Floats, largest: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """Columns of whole numbers up to `largest`, and what one is worth in each."""
    scales = np.maximum(np.abs(weights).max(axis=0) / np.float32(largest), np.float32(1e-12))
    return np.round(weights / scales).astype(np.int8), scales
