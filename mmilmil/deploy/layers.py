"""The layers of an exported model, found by what they take and what they feed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

KINDS = ('Conv', 'Gemm', 'MatMul')
"""Operators that are layers where their second input is a weight of the file."""

_CHOOSING = ('TopK', 'NonZero', 'NonMaxSuppression', 'Compress')
_NAME = re.compile(r'detector\.(.+)\.weight')
_BY_PLACE = ('Gather', 'GatherND', 'GatherElements')


@dataclass(frozen=True)
class Layer:
    """A weight of the network and the nodes that it stands in: one a neck level of a head that all levels share.

    Attributes:
        name: The weight's, as it is called in the detector.
        nodes: Names of the nodes.
        is_last: Whether no other layer reads what it gives, but the making of boxes and scores alone.
    """

    name: str
    nodes: tuple[str, ...]
    is_last: bool


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """The network's layers, in the order of the graph; the model's nodes have names, each its own.

    The network is what makes maps of the image, and what goes on from pooled features. An operator of the same kind that works
    on rows chosen out of a layer's output, such as the mean of GFL's distributions, is a part of decoding boxes and none of it.
    """
    return _Graph(model).layers()


class _Graph:
    """A model's graph, looked at from each layer backwards."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.weights: Mapping[str, onnx.TensorProto] = {one.name: one for one in model.graph.initializer}
        self.constants = {*self.weights, *(node.output[0] for node in model.graph.node if node.op_type == 'Constant')}
        self.nodes = [node for node in model.graph.node if self._has_weight(node)]
        self.names = {node.name for node in self.nodes}
        self.maker = {name: node for node in model.graph.node for name in node.output}
        self._known: dict[tuple[str, bool], frozenset[str] | None] = {}

    def layers(self) -> list[Layer]:
        read = {node.name: self._read(node.input[0], False) for node in self.nodes}
        network = [node for node in self.nodes if read[node.name] is not None]
        feeding = frozenset().union(*(read[node.name] for node in network))
        by_name: dict[str, list[onnx.NodeProto]] = {}
        for node in network:
            by_name.setdefault(_short(node.input[1]), []).append(node)
        return [Layer(name, tuple(node.name for node in nodes), feeding.isdisjoint(node.name for node in nodes))
                for name, nodes in by_name.items()]

    def _has_weight(self, node: onnx.NodeProto) -> bool:
        return node.op_type in KINDS and node.input[1] in self.weights and node.input[0] not in self.weights

    def _read(self, tensor: str, chosen: bool) -> frozenset[str] | None:
        """The layers that a tensor is made of with none between; None where it is rows chosen out of the output of one.

        Args:
            tensor: Its name.
            chosen: Whether rows of it are chosen on the way to what is asked about.
        """
        key = tensor, chosen
        if key not in self._known:
            self._known[key] = self._look(tensor, chosen)
        return self._known[key]

    def _look(self, tensor: str, chosen: bool) -> frozenset[str] | None:
        node = self.maker.get(tensor)
        if node is None or node.op_type == 'Shape':
            return frozenset()
        if node.name in self.names:
            return None if chosen else frozenset([node.name])
        inputs = [name for name in node.input if name]
        if node.op_type == 'RoiAlign':  # features; the boxes only say where
            inputs, chosen = inputs[:1], False
        elif node.op_type in _BY_PLACE:
            inputs, chosen = inputs[:1], chosen or inputs[1] not in self.constants
        elif node.op_type in _CHOOSING:
            chosen = True
        found = [self._read(name, chosen) for name in inputs]
        return None if None in found else frozenset().union(*found)


def _short(weight: str) -> str:
    """``bbox_head.gfl_reg`` of ``detector.bbox_head.gfl_reg.weight``, and of what optimisation makes of that name where it puts
    the factor of a level into the weight."""
    found = _NAME.search(weight)
    return found[1] if found else weight
