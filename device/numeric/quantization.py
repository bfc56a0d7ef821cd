"""Affine int8 quantization as LiteRT defines it: real = scale * (int8 - zero_point).

The scheme is that of Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2017, arXiv 1712.05877), equation 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

INT8_MIN = -128
INT8_MAX = 127


def quantize(values: npt.ArrayLike, scale: float, zero_point: int) -> npt.NDArray[np.int8]:
    """Quantize real values to int8; what is out of range saturates.

    Raises:
        ValueError: a value is NaN, or scale is not a positive finite number, or zero_point is no int8.
    """
    _check_parameters(scale, zero_point)
    real = np.asarray(values, dtype=np.float64)
    if np.isnan(real).any():
        raise ValueError("cannot quantize NaN: check what was computed before")
    steps = np.clip(np.rint(real / scale) + zero_point, INT8_MIN, INT8_MAX)
    return np.asarray(steps, dtype=np.int8)


def dequantize(values: npt.ArrayLike, scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """Return the real values, float32, that int8 values stand for."""
    _check_parameters(scale, zero_point)
    # int32 first: int8 - zero_point would wrap around.
    steps = np.asarray(values).astype(np.int32) - np.int32(zero_point)
    return np.asarray(steps * np.float32(scale), dtype=np.float32)


def pixel_table(mean: float, std: float, scale: float, zero_point: int) -> npt.NDArray[np.int8]:
    """Return the (256,) int8 a network wants for each uint8 pixel: `table[image]` normalizes and quantizes.

    One lookup replaces a subtraction, two divisions, a rounding and a clip for each of 37,632 values a face.
    """
    if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
        raise ValueError(f"pixel mean must be finite and std above 0, received mean {mean}, std {std}")
    pixels = np.arange(256, dtype=np.float64)
    return quantize((pixels - mean) / std, scale, zero_point)


def _check_parameters(scale: float, zero_point: int) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a finite number above 0, received {scale}")
    if not INT8_MIN <= zero_point <= INT8_MAX:
        raise ValueError(f"zero point must be in [{INT8_MIN}, {INT8_MAX}], received {zero_point}")
