"""Run a landmark network's .tflite file, float32 or int8, as the board does: one thread, one face at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from device.numeric.quantization import dequantize, quantize

PIXEL_MEAN, PIXEL_STD = 127.5, 128.0  # of `models.training.data`, which needs torch
LEVELS = (np.arange(256, dtype=np.float32) - PIXEL_MEAN) / PIXEL_STD


class LandmarkFile:
    """A .tflite file that maps a (side, side, 3) uint8 RGB square to 127 points in shares of the side."""

    def __init__(self, model: Path) -> None:
        self.interpreter = Interpreter(str(model), num_threads=1)
        self.interpreter.allocate_tensors()
        self.source = self.interpreter.get_input_details()[0]
        self.target = self.interpreter.get_output_details()[0]
        self.side_px = int(self.source["shape"][1])
        int8 = self.source["dtype"] == np.int8
        self.levels = quantize(LEVELS, *self.source["quantization"]) if int8 else LEVELS

    def points(self, square: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (127, 2)."""
        self.interpreter.set_tensor(self.source["index"], self.levels[square][None])
        self.invoke()
        found = self.interpreter.get_tensor(self.target["index"])[0]
        if found.dtype == np.int8:
            found = dequantize(found, *self.target["quantization"])
        return found.reshape(-1, 2).astype(np.float32)

    def invoke(self) -> None:
        self.interpreter.invoke()

    def all_points(self, squares: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (N, 127, 2) of (N, side, side, 3)."""
        return np.stack([self.points(square) for square in squares])
