"""scripts/measure/compare_models.py: groups against brute force, sentences from recorded facts, page and picture."""

from __future__ import annotations

import csv
import json
import zipfile
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import UsageError
from scripts.evaluate import Embedded
from scripts.measure import compare_models, group_errors, models_page, models_picture, models_table
from scripts.measure.models_table import Row, Size
from tests.support.checkout import call_program, run_without_torch
from tests.support.tiny_model import write_tiny

TEACHER = (99.27, 97.32)
TRAINED = {
    "recipe": {"network": "mobilefacenet", "act": "relu6", "init": "run"},
    "samples": 300,
    "start": {"recipe": {"network": "mobilefacenet", "act": "relu6", "init": "teacher"}, "samples": 200},
}
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch (make test-train)")


def figures(lfw: float, tar: float) -> dict:
    interval = {"value": tar, "low": tar - 1, "high": tar + 1, "threshold": 0.4}
    tars = {f"tar_at_{fmr}": interval for fmr in ("1e-3", "1e-4", "1e-5")}
    return {"lfw_accuracy": lfw, "lfw_standard_error": 0.18, **tars}


def manifest(name: str = "mobilefacenet_relu6", lfw: float = 99.13, **changes) -> dict:
    evaluation = {"int8": figures(lfw, 94.52), "fp32": figures(lfw - 0.1, 94.73), "int8_loss_lfw": -0.1}
    made = {
        "model_id": f"{name}-0123456789ab",
        "bytes": 1334416,
        "training": TRAINED,
        "evaluation": evaluation,
    }
    return made | changes


def row(**changes) -> Row:
    times = {
        kind: {"median": ms, "low": ms - 0.1, "high": ms + 0.1} for kind, ms in (("int8", 1.1), ("fp32", 2.4))
    }
    return Row(manifest(**changes), Size(995_000, 221_000_000), times)


def write_measured(folder: Path, name: str, side: int = 112) -> Path:
    """Write a tiny embedder whose manifest says that it was evaluated."""
    path = write_tiny(folder, name, side=side, dimension=16)
    values = json.loads(path.read_text())
    values["evaluation"] = manifest()["evaluation"]
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def faces(tmp_path):
    """Write 80 gray faces of two sources, one with identities: 40 and 80 of it are held out, two faces each."""
    folder = tmp_path / "faces"
    (folder / "train").mkdir(parents=True)
    random = np.random.default_rng(0)
    with (
        zipfile.ZipFile(folder / "train" / "000.zip", "w") as archive,
        (folder / "index.csv").open("w") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("zip", "name", "source", "identity"))
        for i in range(80):
            labeled = i % 2 == 1
            face = random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            archive.writestr(f"{i}.png", cv2.imencode(".png", face)[1].tobytes())
            identity = {1: 40, 3: 40, 5: 80, 7: 80}.get(i, i) if labeled else -1
            writer.writerow(("000.zip", f"{i}.png", "celeba" if labeled else "aaf", identity))
    return folder


def unit_rows(subjects, seed=0):
    random = np.random.default_rng(seed)
    people = random.normal(size=(subjects.max() + 1, 8))
    rows = people[subjects] + random.normal(size=(len(subjects), 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_errors_of_groups_are_those_of_counting_pair_by_pair():
    random = np.random.default_rng(1)
    subjects = random.integers(0, 12, 60)
    subjects = np.unique(subjects, return_inverse=True)[1]
    values, rows = random.uniform(0, 255, 60), unit_rows(subjects)
    embedded = Embedded([rows], values, 255 - values)
    found = group_errors.lfw_groups(embedded, subjects, {"net": {"1e-3": 0.4}}, ["1e-3"])
    for split, of_photo in (("width", values), ("brightness", 255 - values)):
        counted = np.zeros((3, 2, 2))  # group, non-mated or mated, all or wrong
        for i, j in combinations(range(60), 2):
            group = np.searchsorted(found.bounds[split], min(of_photo[i], of_photo[j]), side="right")
            mated, alike = subjects[i] == subjects[j], rows[i] @ rows[j] >= 0.4
            counted[group, int(mated)] += (1, int(mated != alike))
        errors = found.errors["net", split, "1e-3"]
        for k in range(3):
            for share, (pairs, wrong) in zip((errors.fmr[k], errors.fnmr[k]), counted[k], strict=True):
                assert share.pairs == pairs
                assert share.value == pytest.approx(wrong / pairs)
                assert share.low <= share.value <= share.high
        assert min(share.pairs for share in errors.fnmr) > 0.9 * counted[:, 1, 0].sum() / 3


def test_photographs_without_a_face_are_counted_and_left_out():
    subjects = np.array([0, 0, 1, 1, 2, 2])
    rows = unit_rows(subjects)
    rows[5] = 0
    widths = np.array([50, 60, 70, 80, 90, np.nan])
    found = group_errors.lfw_groups(
        Embedded([rows], widths, widths), subjects, {"net": {"1e-4": 0.5}}, ["1e-4"]
    )
    errors = found.errors["net", "width", "1e-4"]
    assert (found.photographs, found.without_face) == (6, 1)
    assert sum(share.pairs for share in errors.fnmr) == 2
    assert sum(share.pairs for share in errors.fmr) == 8


def test_photographs_of_strangers_only_are_refused():
    subjects = np.arange(4)
    embedded = Embedded([unit_rows(subjects)], np.ones(4), np.ones(4))
    with pytest.raises(UsageError, match="no two of one subject"):
        group_errors.lfw_groups(embedded, subjects, {"net": {"1e-4": 0.5}}, ["1e-4"])


def test_no_error_seen_is_no_certainty():
    pairs = np.full(1 + group_errors.RESAMPLES, 100.0)
    assert group_errors.share(0 * pairs, pairs).high == pytest.approx(0.037, abs=0.001)
    assert models_page.scaled(group_errors.share(0 * pairs, 0 * pairs), 100) == "-"


def test_held_out_faces_are_read_alone_and_pairs_of_one_identity_do_not_count(faces, tmp_path):
    embedders, thresholds = compare_models.evaluated({"tiny": write_measured(tmp_path, "tiny", side=160)})
    aaf, celeba = group_errors.by_origin(faces, 40, embedders, {"tiny": -1.0})
    assert list(thresholds) == ["tiny"]
    assert (aaf.source, aaf.faces, aaf.people, aaf.labeled) == ("aaf", 2, 2, False)  # rows 0 and 40
    assert (celeba.source, celeba.faces, celeba.people, celeba.labeled) == ("celeba", 4, 2, True)
    assert (celeba.shares["tiny"].pairs, celeba.shares["tiny"].value) == (4, 1.0)


def test_faces_that_are_not_there_are_one_clear_error(faces):
    (faces / "train" / "000.zip").unlink()
    rows = group_errors.held_out_rows(faces, 40)["aaf"]
    with pytest.raises(UsageError, match="expected the faces that index"):
        group_errors.read_faces(faces, rows)


def test_faces_seen_are_the_networks_own():
    assert models_table.faces_seen(TRAINED) == ("300", "from the teacher's weights")
    other = {
        "recipe": {"network": "facenet", "act": "relu6", "init": "transplant"},
        "samples": 1300,
        "start": TRAINED,
    }
    tuned = {"recipe": {"network": "facenet", "act": "relu6", "init": "run"}, "samples": 1400, "start": other}
    assert models_table.faces_seen(tuned) == ("1,100", "from a mobilefacenet (ReLU6) that had seen 300")
    assert models_table.faces_seen({})[0] == "unknown"


def test_a_sentence_says_how_far_a_network_is_from_its_paper_and_why():
    far = row(lfw=98.5)
    sentence = models_table.beside_paper(far, far.paper, TEACHER)
    assert sentence.startswith("1.05 points below the paper's 99.55: 300 faces seen here")
    assert "3.8 million" in sentence
    assert "ReLU6 in place of PReLU" in sentence
    assert "99.27" in sentence
    near = row(lfw=99.3)
    assert "less than two standard errors" in models_table.beside_paper(near, near.paper, None)
    above = row(lfw=99.6)
    assert models_table.beside_paper(above, above.paper, TEACHER) == "0.05 points above the paper's 99.55."


def test_a_narrower_network_says_so():
    recipe = {"recipe": {"network": "mobilenetv2", "act": "relu6", "init": "random"}, "samples": 5}
    narrow = Row(manifest("mobilenetv2", 97.0, training=recipe), Size(920_000, 96_000_000, 0.5), {})
    assert "0.92 M parameters (width 0.5), 2.10 M there" in models_table.beside_paper(
        narrow, narrow.paper, None
    )
    assert models_table.COLUMNS["network"](narrow) == "mobilenetv2 (width 0.5)"


def test_what_was_not_measured_says_so():
    bare = Row(manifest(evaluation={}, training={"note": "random"}), None, {})
    cells = {name: cell(bare) for name, cell in models_table.COLUMNS.items()}
    for name in ("LFW", "TAR@1e-4", "int8, ms", "fp32, ms", "int8 costs, LFW / TAR@1e-4"):
        assert cells[name] == "not measured"
    assert (cells["parameters"], cells["faces seen"], cells["activation"]) == ("-", "unknown", "unknown")
    unmeasured = row(evaluation={})
    assert (
        models_table.beside_paper(unmeasured, unmeasured.paper, TEACHER)
        == "not measured; the paper has 99.55."
    )


def test_counts_are_in_millions():
    assert [models_table.million(n) for n in (None, 995_000, 96.1e6, 221e6, 1.6e9)] == [
        "-",
        "0.99 M",
        "96.1 M",
        "221 M",
        "1,600 M",
    ]


def test_the_teachers_figures_stand_in_the_training_page(tmp_path):
    lfw, tar = models_table.teacher_figures()
    assert 97 < tar < lfw < 100
    assert models_table.teacher_figures(tmp_path / "none.md") is None


def comparison(rows):
    shares = [group_errors.Share(0.05, 0.04, 0.06, 100), group_errors.Share(0.02, 0.01, 0.03, 100)]
    shares.append(group_errors.Share(0.01, 0.0, 0.03, 100))
    rates = [group_errors.Share(value * 1e-4, 0.0, 1e-3, 10_000) for value in (3.0, 1.0, 0.5)]
    errors = {
        (rows[0].name, split, fmr): group_errors.GroupErrors(shares, rates)
        for split in models_page.SPLITS
        for fmr in models_page.GROUP_FMRS
    }
    bounds = {"brightness": (90.4, 130.2), "width": (80.0, 100.0)}
    groups = group_errors.LfwGroups(7701, 2, bounds, errors)
    origins = [
        group_errors.Origin(
            source, 150, 150, labeled, {rows[0].name: group_errors.Share(rate, 0, 0.01, 9000)}
        )
        for source, labeled, rate in (("aaf", False, 0.005), ("celeba", True, 0.001))
    ]
    return models_page.Comparison(rows, "a processor", 100, "the command", groups, origins)


def test_the_page_has_table_picture_groups_and_what_they_do_not_tell(tmp_path):
    rows = [row(), row(name="other", evaluation={})]
    (tmp_path / "docs").mkdir()
    page, picture = tmp_path / "docs" / "models.md", tmp_path / "models.png"
    models_page.write_page(comparison(rows), "mobilefacenet", page, picture)
    text = page.read_text()
    plain = " ".join(text.split())
    assert "](../models.png)" in text
    assert "    the command\n" in text
    assert "100 rounds" in plain
    assert "one core (a processor)" in plain
    assert "| mobilefacenet_relu6 | ReLU6 | 0.99 M | 221 M | 1,334,416 | 1.10 [1.00, 1.20] |" in text
    assert "99.13 ± 0.18" in text
    assert "-0.10 / 0.21" in text
    assert "7,699 LFW photographs, 2 without a face left out" in plain
    assert "Under 90, 90 to 130, and over 130." in plain
    assert (
        "5.0 % of the mated pairs are refused in the darkest third and 1.0 % in the brightest third" in plain
    )
    assert "| 3.00 [0.00, 10.00] |" in text
    assert "`aaf` is highest at 5.0 times the rate asked for, `celeba` lowest at 1.0" in plain
    assert "may hold one person twice" in plain
    assert "| `aaf` | All-Age-Faces, mostly East Asian | unknown | 150 | 9,000 | 5.00 [0.00, 10.00] |" in text


def test_a_page_of_networks_nobody_evaluated_can_be_written(tmp_path):
    bare = models_page.Comparison([row(evaluation={})], "a processor", 3, "the command")
    models_picture.draw(bare.rows, tmp_path / "models.png")
    models_page.write_page(bare, "mobilefacenet", tmp_path / "models.md", tmp_path / "models.png")
    assert "not measured" in (tmp_path / "models.md").read_text()
    assert "Error by group" not in (tmp_path / "models.md").read_text()


def test_the_picture_shows_every_measured_network(tmp_path):
    models_picture.draw([row(), row(name="other", lfw=98.0)], tmp_path / "models.png")
    assert cv2.imread(str(tmp_path / "models.png")).shape[1] > 1000


def test_names_keep_their_distance_and_their_order():
    placed = models_picture.spread([0.0, 1.0, 2.0, 50.0], 10.0)
    assert placed == [-9.0, 1.0, 11.0, 50.0]
    assert models_picture.spread([], 10.0) == []


def test_int8_files_are_timed_and_fp32_files_where_there_are_any(tmp_path):
    path = write_measured(tmp_path, "tiny")
    times = compare_models.time_networks({"tiny": path}, tmp_path / "none", 3)
    assert list(times["tiny"]) == ["int8"]
    assert 0 < times["tiny"]["int8"]["low"] <= times["tiny"]["int8"]["high"]


def test_every_embedder_shipped_is_compared_and_nothing_else(tmp_path):
    for name in ("zebra", "facenet", "mobilefacenet"):
        write_measured(tmp_path, name)
    (tmp_path / "landmarks.json").write_text('{"points": []}')
    found = compare_models.find_manifests([], tmp_path)
    assert list(found) == ["mobilefacenet", "facenet", "zebra"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no embedder"):
        compare_models.find_manifests([], tmp_path / "none")
    with pytest.raises(UsageError, match="two models are called zebra"):
        compare_models.find_manifests([str(tmp_path / "zebra.json")] * 2)


def test_a_whole_run_writes_page_and_picture(benchmark, faces, tmp_path, monkeypatch, capsys):
    """Everything but torch: the fp32 files are left out, which the page then says."""
    models = [str(write_measured(tmp_path, "one")), str(write_measured(tmp_path, "two", side=160))]
    monkeypatch.setattr(compare_models, "find_spec", lambda name: name)
    monkeypatch.setattr(compare_models, "export_fp32", lambda manifests, folder: {})
    monkeypatch.setattr(
        compare_models,
        "measure_origins",
        lambda manifests, folder: group_errors.by_origin(
            folder, 40, compare_models.evaluated(manifests)[0], {"one": 0.8, "two": 0.8}
        ),
    )
    places = ["--out", str(tmp_path / "m.md"), "--picture", str(tmp_path / "m.png"), "--rounds", "2"]
    code = compare_models.main([*models, "--lfw", str(benchmark), "--faces", str(faces), *places])
    output = capsys.readouterr()
    assert code == 0, output.err
    text = (tmp_path / "m.md").read_text()
    assert "scripts/measure/compare_models.py --lfw LFW --faces FACES --rounds 2 one.json two.json" in text
    assert str(tmp_path) not in text
    assert "## Error by group" in text
    assert "| `celeba` | CelebA, mostly European | 2 | 4 | 4 |" in text
    assert (tmp_path / "m.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--lfw", "."], 2, "has no lfw.zip"),
        (["--faces", "."], 2, "has no index.csv"),
        (["--out", "absent/models.md"], 2, "there is no folder absent"),
        (["mobilfacenet"], 3, "did you mean 'mobilefacenet'?"),
        (["none.json"], 4, "none.json"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, code, said):
    result = call_program(compare_models.main, *arguments, cwd=tmp_path)
    assert result.returncode == code
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


@pytest.mark.parametrize("option", ["--rounds", "--limit"])
def test_counts_below_one_are_refused(tmp_path, option):
    assert call_program(compare_models.main, option, "0", cwd=tmp_path).returncode == 2


def test_without_torch_it_says_where_it_is(tmp_path):
    result = run_without_torch("measure/compare_models.py", write_measured(tmp_path, "tiny"), cwd=tmp_path)
    assert result.returncode == 2
    assert "run it with .venv-train/bin/python" in result.stderr


@pytest.mark.train
@needs_torch
def test_fp32_files_and_sizes_are_those_of_the_constructed_network(tmp_path):
    recipe = {"training": {"recipe": {"network": "mobilefacenet", "act": "prelu"}}}
    sizes = compare_models.export_fp32({"net": recipe, "tiny": {"training": {"note": "none"}}}, tmp_path)
    assert list(sizes) == ["net"]
    assert sizes["net"].parameters == pytest.approx(0.99e6, rel=0.02)
    assert sizes["net"].multiply_adds == pytest.approx(221e6, rel=0.01)
    times = compare_models.time_networks({"net": write_measured(tmp_path, "other")}, tmp_path, 2)
    assert set(times["net"]) == {"int8", "fp32"}


@pytest.mark.train
@needs_torch
def test_held_out_faces_are_those_that_training_leaves_out(faces):
    data = pytest.importorskip("models.training.data")
    marked = data.load_crops(faces).held_out
    with (faces / "index.csv").open(newline="") as file:
        names = [line["name"] for line in csv.DictReader(file)]
    mine = group_errors.held_out_rows(faces, data.HELD_OUT_ONE_IN)
    chosen = {line["name"] for lines in mine.values() for line in lines}
    assert chosen == {name for name, held in zip(names, marked, strict=True) if held}
