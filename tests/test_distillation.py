"""Distillation: the teacher read from ONNX, inheritance of weights, the objectives, the target embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from onnxruntime import InferenceSession  # noqa: E402

from models.distillation import OBJECTIVES, inherit, pull_to_identity  # noqa: E402
from models.losses import embedding_loss, relational_loss, stage_loss  # noqa: E402
from models.mobilefacenet import MobileFaceNet  # noqa: E402
from models.teacher import load_teacher  # noqa: E402
from tests.training_data import write_teacher  # noqa: E402

pytestmark = pytest.mark.train
SHARED_TEACHER = Path(__file__).parents[2] / "shared" / "faces" / "teacher.onnx"


@pytest.fixture(scope="module")
def faces():
    return torch.randn(4, 3, 112, 112, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def run_onnx(path, faces):
    """Return what onnxruntime makes of faces in [-1, 1]; the file itself takes pixels of 0 to 255."""
    return InferenceSession(str(path)).run(None, {"data": (faces * 128 + 127.5).numpy()})[0]


def test_teacher_from_onnx_is_the_network_that_was_written(tmp_path, faces):
    written = write_teacher(tmp_path / "teacher.onnx")
    read = load_teacher(tmp_path / "teacher.onnx")
    with torch.no_grad():
        assert torch.allclose(read(faces), written(faces), atol=1e-4)
    assert np.allclose(read(faces).numpy(), run_onnx(tmp_path / "teacher.onnx", faces), atol=1e-3)
    assert not any(p.requires_grad for p in read.parameters())


def test_an_onnx_file_of_another_network_is_refused(tmp_path):
    import onnx

    write_teacher(tmp_path / "teacher.onnx")
    model = onnx.load(str(tmp_path / "teacher.onnx"))
    del model.graph.node[-4]
    onnx.save(model, str(tmp_path / "cut.onnx"))
    with pytest.raises(ValueError, match="layers with weights"):
        load_teacher(tmp_path / "cut.onnx")


@pytest.mark.skipif(not SHARED_TEACHER.exists(), reason="the published teacher is not beside the project")
def test_published_teacher_gives_what_onnxruntime_gives(faces):
    assert np.allclose(
        load_teacher(SHARED_TEACHER)(faces).numpy(), run_onnx(SHARED_TEACHER, faces), atol=1e-3
    )


def test_a_prelu_student_inherits_everything_but_the_slopes(tmp_path):
    teacher = write_teacher(tmp_path / "teacher.onnx")
    student = MobileFaceNet("prelu")
    inherit(student, teacher)
    ours, theirs = student.state_dict(), teacher.state_dict()
    different = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    slopes = {f"{name}.weight" for name, m in student.named_modules() if isinstance(m, torch.nn.PReLU)}
    assert different == slopes


def test_turned_over_channels_keep_the_teachers_negative_side(tmp_path, faces):
    """With slopes below -1 everywhere and inputs that are all negative, a ReLU6 student equals its teacher."""
    teacher = MobileFaceNet("prelu").eval()
    first = teacher.stages[0][0][0]
    with torch.no_grad():
        first[1].bias.fill_(-0.5)
        first[1].weight.fill_(1e-3)  # the batch norm's output stays near -0.5
        first[2].weight.fill_(-2.0)
    student = MobileFaceNet("relu6").eval()
    inherit(student, teacher)
    with torch.no_grad():
        expected = teacher.stages[0][0][1][0](first(faces))
        ours = student.stages[0][0][1][0](student.stages[0][0][0](faces))
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_reach_every_parameter_and_fall_to_zero_at_the_teacher(tmp_path, faces, name):
    teacher = write_teacher(tmp_path / "teacher.onnx").requires_grad_(False)
    student = MobileFaceNet("relu6")
    targets = torch.nn.functional.normalize(teacher(faces))
    OBJECTIVES[name](student, teacher)(faces, targets, 0.0)["total"].backward()
    assert all(p.grad is not None for p in student.parameters())
    twin = MobileFaceNet("prelu").eval()
    twin.load_state_dict(teacher.state_dict())
    assert OBJECTIVES[name](twin, teacher)(faces, targets, 0.0)["total"].item() == pytest.approx(0, abs=1e-5)


def test_losses_against_their_equations():
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    cosine = torch.nn.functional.cosine_similarity(a, b).mean()
    assert embedding_loss(a, b).item() == pytest.approx(1 - cosine.item(), abs=1e-6)
    assert relational_loss(a, 3 * a).item() == pytest.approx(0, abs=1e-12)
    assert stage_loss(torch.zeros_like(b), b - b.mean()).item() == pytest.approx(
        0.975, abs=1e-3
    )  # (n - 1) / n


def test_targets_move_toward_known_identities_only():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(8, 16)).astype(np.float32) * 3
    identities = np.array([7, 7, 7, 9, 9, -1, -1, -1])
    moved = pull_to_identity(embeddings, identities, 0.5)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    assert np.allclose(moved[3:], unit[3:], atol=1e-6)  # two faces are too few, -1 is nobody
    assert (moved[:3] @ moved[:3].T).sum() > (unit[:3] @ unit[:3].T).sum()
    assert np.allclose(pull_to_identity(embeddings, identities, 0.0), unit, atol=1e-6)
