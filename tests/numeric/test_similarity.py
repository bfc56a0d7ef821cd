from __future__ import annotations

import math

import numpy as np
import pytest

from device.numeric.similarity import best_match, cosine_matrix, l2_normalize


def unit_rows(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return l2_normalize(np.random.default_rng(seed).normal(size=(count, dimension)))


def test_l2_normalize_gives_unit_rows_in_float32():
    rows = unit_rows(50, 128)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_l2_normalize_along_another_axis():
    columns = l2_normalize(np.ones((4, 3)), axis=0)
    assert np.allclose(np.linalg.norm(columns, axis=0), 1.0)


def test_l2_normalize_survives_values_whose_squares_overflow_float32():
    assert np.allclose(l2_normalize(np.array([3e30, 4e30], np.float32)), [0.6, 0.8])


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_vector_without_direction_is_refused(bad):
    with pytest.raises(ValueError, match="zero or non-finite"):
        l2_normalize(bad)


def test_best_match_finds_each_row_itself():
    rows = unit_rows(200, 32)
    for index in (0, 7, 199):
        found, similarity = best_match(rows, rows[index])
        assert found == index
        assert similarity == pytest.approx(1.0, abs=1e-6)


def test_best_match_equals_the_slow_way():
    rows, probe = unit_rows(100, 16), unit_rows(1, 16, seed=1)[0]
    slow = [sum(float(a) * float(b) for a, b in zip(row, probe, strict=False)) for row in rows]
    index, similarity = best_match(rows, probe)
    assert index == max(range(100), key=slow.__getitem__)
    assert similarity == pytest.approx(max(slow), abs=1e-6)


def test_best_match_shows_a_nan_instead_of_hiding_it():
    rows = unit_rows(5, 8)
    rows[3] = np.nan
    assert math.isnan(best_match(rows, unit_rows(1, 8)[0])[1])


@pytest.mark.parametrize(("shape", "probe"), [((0, 8), 8), ((5, 8), 7), ((8,), 8)])
def test_best_match_names_wrong_shapes(shape, probe):
    with pytest.raises(ValueError, match="best_match expects"):
        best_match(np.zeros(shape, np.float32), np.zeros(probe, np.float32))


def test_cosine_matrix_does_not_depend_on_length():
    rows = unit_rows(6, 8)
    scaled = rows * np.arange(1, 7, dtype=np.float32)[:, None]
    result = cosine_matrix(scaled, rows)
    assert result.shape == (6, 6)
    assert np.allclose(result, rows @ rows.T, atol=1e-6)
    assert result.max() <= 1.0
    assert result.min() >= -1.0
