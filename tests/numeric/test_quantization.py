from __future__ import annotations

import numpy as np
import pytest

from device.numeric.quantization import dequantize, pixel_table, quantize


def test_quantize_then_dequantize_is_within_half_a_step():
    values = np.linspace(-1.0, 0.99, 1000)
    back = dequantize(quantize(values, 1 / 128, 0), 1 / 128, 0)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= 0.5 / 128 + 1e-6


def test_out_of_range_saturates_instead_of_wrapping():
    assert quantize([1e9, -1e9, np.inf, -np.inf], 0.1, 3).tolist() == [127, -128, 127, -128]


def test_dequantize_does_not_wrap_at_the_ends():
    assert dequantize(np.array([-128, 127], np.int8), 0.5, 127).tolist() == [-127.5, 0.0]
    assert dequantize(np.array([127], np.int8), 1.0, -128).tolist() == [255.0]


def test_every_int8_survives_the_round_trip():
    steps = np.arange(-128, 128, dtype=np.int8)
    for scale, zero_point in [(0.0078125, -1), (0.031, 17), (3.0, -128)]:
        assert np.array_equal(quantize(dequantize(steps, scale, zero_point), scale, zero_point), steps)


def test_pixel_table_equals_the_arithmetic_it_replaces():
    table = pixel_table(127.5, 128.0, 0.0078125, -1)
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    expected = quantize((image.astype(np.float64) - 127.5) / 128.0, 0.0078125, -1)
    assert table.shape == (256,)
    assert table.dtype == np.int8
    assert np.array_equal(table[image], expected)


def test_pixel_table_covers_the_whole_int8_range_in_order():
    table = pixel_table(127.5, 127.5, 1 / 127.5, 0)
    assert np.all(np.diff(table.astype(int)) >= 0)
    assert table[0] == -128 or table[0] == -127
    assert table[255] == 127


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_scale_is_named(scale):
    with pytest.raises(ValueError, match="scale must be a finite number above 0"):
        quantize([0.0], scale, 0)


@pytest.mark.parametrize("zero_point", [-129, 128])
def test_bad_zero_point_is_named(zero_point):
    with pytest.raises(ValueError, match="zero point must be in"):
        dequantize([0], 1.0, zero_point)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        quantize([0.0, np.nan], 1.0, 0)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (np.nan, 1.0), (0.0, -1.0), (0.0, np.inf)])
def test_pixel_table_refuses_an_impossible_normalization(mean, std):
    with pytest.raises(ValueError, match="std above 0"):
        pixel_table(mean, std, 1.0, 0)
