"""Distillation: the teacher read from ONNX, inheritance of weights, the objectives, the target embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from onnxruntime import InferenceSession  # noqa: E402

from models.networks.heads import Classifier  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402
from models.networks.mobilenet_v1 import FaceNet, MobileNetV1Face  # noqa: E402
from models.networks.mobilenet_v2 import MobileNetV2Face  # noqa: E402
from models.training.distillation import CLASSIFYING, OBJECTIVES, Lesson, inherit, pull_to_identity  # noqa: E402
from models.training.losses import embedding_loss, relational_loss  # noqa: E402
from models.training.teacher import load_teacher  # noqa: E402
from tests.support.training_data import write_teacher  # noqa: E402

pytestmark = pytest.mark.train
SHARED_TEACHER = Path(__file__).parents[4] / "shared" / "faces" / "teacher.onnx"


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


def test_a_prelu_student_is_its_teachers_function(tmp_path, faces):
    teacher = write_teacher(tmp_path / "teacher.onnx")  # has slopes from -1.5 to 1.5
    student = MobileFaceNet("prelu").eval()
    inherit(student, teacher)
    with torch.no_grad():
        for ours, theirs in zip(student.stage_outputs(faces), teacher.stage_outputs(faces), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4 * theirs.abs().max().item())
    theirs, ours = slopes(teacher), slopes(student)
    assert theirs.abs().max() > 1.4
    assert ours.abs().max() <= 1
    kept = theirs.abs() <= 1
    assert torch.equal(ours[kept], theirs[kept])
    assert torch.allclose(ours[~kept], 1 / theirs[~kept])


def slopes(network):
    return torch.cat([m.weight.detach() for m in network.modules() if isinstance(m, torch.nn.PReLU)])


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


LABELS = torch.tensor([0, 0, 1, 1])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    return write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.onnx").requires_grad_(False)


@pytest.fixture(scope="module")
def targets(teacher, faces):
    return torch.nn.functional.normalize(teacher(faces))


def losses(name, student, teacher, faces, targets, labels=LABELS, progress=0.0, centers=None):
    lesson = Lesson(student, teacher, targets.shape[1], faces)
    centers = lesson.embedding(targets[1:3] if centers is None else centers)
    classifier = Classifier(centers) if name in CLASSIFYING else None
    return OBJECTIVES[name](student, lesson, classifier)(faces, targets, labels, progress)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_reach_every_parameter(teacher, faces, targets, name):
    student = MobileFaceNet("relu6")
    lesson = Lesson(student, teacher, 128, faces)
    classifier = Classifier(targets[1:3]) if name in CLASSIFYING else None
    objective = OBJECTIVES[name](student, lesson, classifier)
    objective(faces, targets, LABELS, 0.0)["total"].backward()
    assert [
        name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().any()
    ] == []
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_distilled_falls_to_zero_at_the_teacher(teacher, faces, targets, name):
    twin = MobileFaceNet("prelu").eval()
    twin.load_state_dict(teacher.state_dict())
    found = losses(name, twin, teacher, faces, targets)
    distilled = set(found) - {"softmax", "arcface", "triplet", "active_triplets"}
    if name in CLASSIFYING:
        distilled -= {"total"}
        assert found["total"].item() > 0
    assert len(distilled) >= 1
    for part in distilled:
        assert found[part].item() == pytest.approx(0, abs=1e-5), part


def test_hints_fade_out_by_half_time(teacher, faces, targets):
    student = MobileFaceNet("relu6").eval()
    first, middle, last = (
        losses("end_to_end", student, teacher, faces, targets, progress=progress)
        for progress in (0.0, 0.25, 0.5)
    )
    assert last["total"].item() == pytest.approx((last["embedding"] + last["relational"]).item(), rel=1e-5)
    assert (first["total"] - last["total"]).item() == pytest.approx(0.1 * first["hints"].item(), rel=1e-3)
    assert (middle["total"] - last["total"]).item() == pytest.approx(0.05 * first["hints"].item(), rel=1e-3)


def test_faces_of_unknown_identity_are_distilled_but_not_classified(teacher, faces, targets):
    student = MobileFaceNet("relu6").eval()
    labels = torch.tensor([0, 0, -1, -1])
    nobody = losses("angular_arcface", student, teacher, faces, targets, torch.full((4,), -1))
    assert "arcface" not in nobody
    assert nobody["total"].item() == pytest.approx(7 * nobody["angular"].item(), rel=1e-5)
    centers = targets[1:3]
    some = losses("softmax_triplet", student, teacher, faces, targets, labels, centers=centers)
    alone = losses("softmax_triplet", student, teacher, faces[:2], targets[:2], labels[:2], centers=centers)
    assert some["softmax"].item() == pytest.approx(alone["softmax"].item(), rel=1e-4)


# Students of other tables and sizes, thin ones for speed
OTHERS = {
    "mobilenetv1": lambda: MobileNetV1Face(width=0.25),
    "mobilenetv2": lambda: MobileNetV2Face(width=0.35, dim=256),
    "facenet": lambda: FaceNet(width=0.25),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_lesson_of_another_table_has_the_students_shapes(teacher, faces, name):
    student = OTHERS[name]().eval()
    lesson = Lesson(student, teacher, 128, faces)
    with torch.no_grad():
        ours = student.stage_outputs(lesson.view(faces))
    taught = lesson.hints(faces)
    assert [y.shape for y in taught] == [y.shape for y in ours[:-1]]
    again = Lesson(student, teacher, 128, faces).hints(faces)
    assert all(torch.equal(a, b) for a, b in zip(taught, again, strict=True))
    for y in taught:
        assert y.std() > 0.3
        if student.stage_act == "relu6":  # most of it neither cut off nor saturated
            assert 0 <= y.min() <= y.max() <= 6
            assert ((y > 0) & (y < 6)).float().mean() > 0.4


def test_a_wider_embedding_keeps_every_angle(teacher, faces):
    given = torch.randn(6, 128, generator=torch.Generator().manual_seed(1))
    widened = Lesson(OTHERS["mobilenetv2"](), teacher, 128, faces).embedding(given)
    assert widened.shape == (6, 256)
    assert torch.allclose(widened @ widened.T, given @ given.T, atol=1e-4)


def test_a_narrower_embedding_is_taught_the_first_numbers_and_the_similarities_of_all(teacher, faces):
    torch.manual_seed(2)
    student, given = OTHERS["mobilenetv1"]().eval(), torch.randn(4, 300)
    lesson = Lesson(student, teacher, 300, faces)
    assert torch.equal(lesson.embedding(given), given[:, :128])
    found = OBJECTIVES["clean_target"](student, lesson)(faces, given, LABELS, 0.0)
    with torch.no_grad():
        own = student(lesson.view(faces))
    assert found["embedding"].item() == pytest.approx(embedding_loss(own, given[:, :128]).item(), rel=1e-4)
    assert found["relational"].item() == pytest.approx(relational_loss(own, given).item(), rel=1e-4)


@pytest.mark.parametrize("name", ["mobilefacenet", *OTHERS])
def test_a_phase_shows_smaller_faces_and_the_embedding_keeps_its_size(teacher, faces, targets, name):
    student = OTHERS.get(name, lambda: MobileFaceNet("relu6"))().eval()
    lesson = Lesson(student, teacher, targets.shape[1], faces)
    seen = []
    student.stages[0].register_forward_pre_hook(lambda _stage, given: seen.append(tuple(given[0].shape)))
    objective = OBJECTIVES["clean_target"](student, lesson, face_px=64)
    with torch.no_grad():
        small, whole = objective.embed(faces), OBJECTIVES["clean_target"](student, lesson).embed(faces)
        assert torch.equal(whole, student(lesson.view(faces)))
    assert seen[0] == (4, 3, 64, 64)
    assert small.shape == whole.shape
    assert (small - whole).norm() > 0.01 * whole.norm()


@pytest.mark.parametrize("name", ["stagewise", "end_to_end"])
def test_a_phase_that_is_taught_by_maps_has_no_smaller_faces(teacher, faces, name):
    student = MobileFaceNet("relu6")
    with pytest.raises(ValueError, match="face_px is for phases without maps of the teacher, received 64"):
        OBJECTIVES[name](student, Lesson(student, teacher, 128, faces), face_px=64)


@pytest.mark.parametrize("name", OTHERS)
def test_stages_of_another_table_are_taught_one_by_one(teacher, faces, targets, name):
    student = OTHERS[name]()
    losses("stagewise", student, teacher, faces, targets)["total"].backward()
    assert [name for name, p in student.named_parameters() if p.grad is None or not p.grad.abs().any()] == []


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
