"""Split the global depthwise convolution of an int8 file in two: over the rows, then over the columns.

XNNPACK's int8 kernels for depthwise convolution end at 25 taps; a 7x7 has 49 and runs, some 50 times slower, as a
convolution of one channel a group. Over its whole map the layer is a sum (MobileFaceNets, arXiv 1804.07573, Eq. 1), so
(H, W, C) may be seen as (H, 1, W C): H taps for each column, then W taps of equal weight. The bytes of the weights stay
as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from device.numeric.quantization import quantize
from models.int8.litert_graph import read_graph, write_graph

MOST_TAPS = 25  # of XNNPACK's int8 depthwise kernels
TOP = 127  # int8
HEADROOM = 1.2  # of the sums' range: one that is cut off costs more than a coarser step

Floats = npt.NDArray[np.float32]


def split_global_depthwise(model: Path, faces: list[Floats]) -> None:
    """Split every global depthwise convolution of more than 25 taps, in place; (1, H, W, 3) `faces` set the ranges."""
    graph, stored = read_graph(model)
    subgraph = graph.subgraphs[0]
    found = [place for place, operator in enumerate(subgraph.operators) if is_global(graph, operator)]
    for place in reversed(found):  # from the end: the places before stay as they are
        maps = values_of(model, int(subgraph.operators[place].inputs[0]), faces)
        subgraph.operators[place : place + 1] = Split(
            graph, stored, subgraph.operators[place], maps
        ).operators()
    write_graph(graph, stored, model)


def is_global(graph: schema.ModelT, operator: schema.OperatorT) -> bool:
    """Say whether an operator is a linear depthwise convolution over its whole map, of too many taps."""
    if kind_of(graph.operatorCodes[operator.opcodeIndex]) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return False
    source, weight = (graph.subgraphs[0].tensors[number].shape for number in operator.inputs[:2])
    linear = operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
    whole = list(source[1:]) == list(weight[1:]) and operator.builtinOptions.padding == schema.Padding.VALID
    return bool(linear and whole and weight[1] * weight[2] > MOST_TAPS)


def kind_of(held: schema.OperatorCodeT) -> int:
    """Return the builtin operator of a code: older writers fill the deprecated field alone, of a byte."""
    return max(held.builtinCode, held.deprecatedBuiltinCode)


def values_of(model: Path, tensor: int, faces: list[Floats]) -> Floats:
    """Return what a tensor of an int8 file holds for each face, in real numbers, (N, ...)."""
    interpreter = Interpreter(
        str(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    scale, zero_point = interpreter.get_tensor_details()[tensor]["quantization"]
    rows = []
    for face in faces:
        interpreter.set_tensor(source["index"], quantize(face, *source["quantization"]))
        interpreter.invoke()
        rows.append((interpreter.get_tensor(tensor)[0].astype(np.float32) - zero_point) * scale)
    return np.stack(rows)


class Split:
    """The four operators that take one's place: a view, the taps of a column, a view, the sum of the columns.

    A column's sums are int8 with one scale for all channels. Each channel is brought to the same range by the scales of
    its weights, and back by those of the second convolution, whose int8 weights are all 127.
    """

    def __init__(
        self, graph: schema.ModelT, stored: dict[int, bytes], operator: schema.OperatorT, maps: Floats
    ) -> None:
        self._graph, self._stored, self._operator = graph, stored, operator
        self._tensors = graph.subgraphs[0].tensors
        self._source, self._weight, self._bias = (self._tensors[number] for number in operator.inputs)
        _, self._rows, self._columns, self._channels = (int(n) for n in self._weight.shape)
        self._step = float(self._source.quantization.scale[0])
        self._scales = np.asarray(self._weight.quantization.scale, np.float32)  # (C,)
        self._ranges = self._column_ranges(maps)

    def operators(self) -> list[schema.OperatorT]:
        """Return the four; the tensors of the one's weights and bias become theirs."""
        source, weight, bias = map(int, self._operator.inputs)
        wide = self._columns * self._channels
        seen = self._tensor([1, self._rows, 1, wide], self._source.quantization)
        sums = self._tensor([1, 1, 1, wide], quantization([1 / TOP], 0))
        columns = self._tensor([1, self._columns, 1, self._channels], self._tensors[sums].quantization)
        back = self._ranges / TOP  # scales of the second convolution's weights
        shift = self._constant(self._bias, np.int32) * self._scales * self._step
        self._weight.shape = list(self._tensors[seen].shape)
        self._weight.quantization = quantization(np.tile(self._scales / self._ranges, self._columns), 3)
        self._fill(self._bias, np.round(shift * TOP / back).astype(np.int32))
        self._bias.quantization = quantization(back / TOP, 0)
        ones = np.full((1, self._columns, 1, self._channels), TOP, np.int8)
        zeros = self._tensor([wide], None, np.zeros(wide, np.int32))
        return [
            self._view(source, seen),
            self._convolution([seen, weight, zeros], sums),
            self._view(sums, columns),
            self._convolution(
                [columns, self._tensor(list(ones.shape), quantization(back, 3), ones), bias],
                int(self._operator.outputs[0]),
            ),
        ]

    def _column_ranges(self, maps: Floats) -> Floats:
        """Return the (C,) largest sizes of columns' sums: those of (N, H, W, C) maps, or 127 steps of a product."""
        shape = (self._rows, self._columns, self._channels)
        weight = self._constant(self._weight, np.int8).reshape(shape) * self._scales
        sums = np.einsum("nhwc,hwc->nwc", maps, weight)
        largest = HEADROOM * np.abs(sums).max(axis=(0, 1))
        return np.maximum(largest, TOP * self._step * self._scales).astype(np.float32)

    def _constant(self, tensor: schema.TensorT, kind: type) -> npt.NDArray:
        buffer = self._graph.buffers[tensor.buffer]
        data = self._stored.get(tensor.buffer) or np.asarray(buffer.data, np.uint8).tobytes()
        return np.frombuffer(data, kind)

    def _view(self, source: int, target: int) -> schema.OperatorT:
        shape = self._tensors[target].shape
        held = self._tensor([len(shape)], None, np.asarray(shape, np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self._operator_of(
            schema.BuiltinOperator.RESHAPE,
            [source, held],
            target,
            schema.BuiltinOptions.ReshapeOptions,
            options,
        )

    def _convolution(self, inputs: list[int], target: int) -> schema.OperatorT:
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
        options.depthMultiplier, options.dilationWFactor, options.dilationHFactor = 1, 1, 1
        kind, options_kind = (
            schema.BuiltinOperator.DEPTHWISE_CONV_2D,
            schema.BuiltinOptions.DepthwiseConv2DOptions,
        )
        return self._operator_of(kind, inputs, target, options_kind, options)

    def _tensor(
        self,
        shape: list[int],
        quantized: schema.QuantizationParametersT | None,
        values: npt.NDArray | None = None,
    ) -> int:
        """Add a tensor, with a buffer of its own where it is constant; return its number."""
        kinds = {np.dtype(np.int8): schema.TensorType.INT8, np.dtype(np.int32): schema.TensorType.INT32}
        held = schema.TensorT()
        held.shape, held.quantization, held.hasRank = list(shape), quantized, True
        held.type = kinds[values.dtype] if values is not None else schema.TensorType.INT8
        held.buffer = 0  # the schema's empty one
        if values is not None:
            self._fill(held, values)
        self._tensors.append(held)
        return len(self._tensors) - 1

    def _fill(self, tensor: schema.TensorT, values: npt.NDArray) -> None:
        """Give a tensor a buffer of its own; the one of before may be another's too."""
        tensor.buffer = len(self._graph.buffers)
        self._graph.buffers.append(schema.BufferT())
        self._stored[tensor.buffer] = values.tobytes()

    def _operator_of(
        self, kind: int, inputs: list[int], output: int, options_kind: int, options: object
    ) -> schema.OperatorT:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(kind)
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options_kind, options
        return operator

    def _opcode(self, kind: int) -> int:
        for number, held in enumerate(self._graph.operatorCodes):
            if kind_of(held) == kind:
                return number
        held = schema.OperatorCodeT()
        held.builtinCode = held.deprecatedBuiltinCode = kind
        held.version = 1
        self._graph.operatorCodes.append(held)
        return len(self._graph.operatorCodes) - 1


def quantization(scales: Floats | list[float], dimension: int) -> schema.QuantizationParametersT:
    """Describe symmetric int8 (or int32) with a scale for each place of `dimension`, or one for all."""
    held = schema.QuantizationParametersT()
    held.scale, held.zeroPoint, held.quantizedDimension = (
        list(map(float, scales)),
        [0] * len(scales),
        dimension,
    )
    return held
