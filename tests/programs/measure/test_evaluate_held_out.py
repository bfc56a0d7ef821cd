"""The figures on held-out faces: TAR of templates against probes, the views, wrong input."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

from scripts.measure import evaluate_held_out
from tests.support.training_data import write_data

pytestmark = pytest.mark.train


def test_only_pairs_of_different_faces_count():
    """Two people, two faces each: of one person the second face is turned away, of the other it is the same."""
    identities = np.array([1, 1, 2, 2])
    faces = np.eye(4, dtype=np.float32)[[0, 1, 2, 2]]
    assert evaluate_held_out.tars(faces, faces, identities) == [50.0, 50.0]
    assert evaluate_held_out.tars(faces, np.eye(4, dtype=np.float32)[[0, 0, 2, 2]], identities) == [
        75.0,
        75.0,
    ]


def test_every_view_of_a_shipped_network_gets_a_line(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    assert evaluate_held_out.main(["mobilefacenet", "--data", str(data)]) == 0
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("4 held-out faces of 2 people")
    assert len(lines) == 1 + len(evaluate_held_out.VIEWS)
    assert all(line.startswith("mobilefacenet-") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [(["mobilfacenet"], "did you mean 'mobilefacenet'?", 3), (["mobilefacenet"], "has no index.csv", 2)],
)
def test_wrong_input_is_one_line(tmp_path, capsys, arguments, said, code):
    assert evaluate_held_out.main([*arguments, "--data", str(tmp_path)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
