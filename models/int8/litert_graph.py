"""Read and write the graph of a .tflite file: its flatbuffer, and the weights that lie behind it.

The schema is TensorFlow Lite's `schema.fbs`; a buffer with an offset has its bytes after the flatbuffer, aligned.
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

BUFFER_ALIGNMENT = 16  # bytes, as the schema asks


def read_graph(model: Path) -> tuple[schema.ModelT, dict[int, bytes]]:
    """Return the graph of a file, and the bytes of the buffers that lie behind it, by the number of the buffer."""
    data = model.read_bytes()
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    stored = {
        number: data[buffer.offset : buffer.offset + buffer.size]
        for number, buffer in enumerate(graph.buffers)
        if buffer.offset
    }
    return graph, stored


def write_graph(graph: schema.ModelT, stored: dict[int, bytes], model: Path) -> None:
    """Write a graph without its tensors' names, which are the converter's call stacks and a twentieth of the file.

    Every buffer is first given some place, so that its true one, once the graph's length is known, takes as many bytes.
    """
    for subgraph in graph.subgraphs:
        for held in subgraph.tensors:
            held.name = ""
    for number, values in stored.items():
        graph.buffers[number].offset, graph.buffers[number].size = 1, len(values)
    place = aligned(len(packed(graph)))
    for number, values in stored.items():
        graph.buffers[number].offset, place = place, aligned(place + len(values))
    written = bytearray(packed(graph))
    for number, values in stored.items():
        written.extend(bytes(graph.buffers[number].offset - len(written)))
        written.extend(values)
    model.write_bytes(written)


class SharingBuilder(flatbuffers.Builder):
    """A builder that writes equal vectors once.

    Every channel has a zero point of 8 bytes, which is zero, for its weights and for its bias: a fifth of a small file.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray) -> int:  # noqa: N802 - flatbuffers' name
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def packed(graph: schema.ModelT) -> bytes:
    builder = SharingBuilder(1024)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def aligned(place: int) -> int:
    return -(-place // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT
