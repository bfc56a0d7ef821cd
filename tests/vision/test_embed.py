from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import ModelError
from device.numeric.quantization import dequantize, quantize
from device.numeric.similarity import l2_normalize
from device.vision.embed import LiteRTEmbedder, load_manifest
from tests.support.tiny_model import DATA, build, describe, write_tiny

SHIPPED = Path(__file__).parents[2] / "models" / "weights" / "mobilefacenet.json"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    for name in ("tiny.tflite", "tiny.json"):
        shutil.copy(DATA / name, tmp_path / name)
    return tmp_path / "tiny.json"


def change(manifest: Path, key: str, value: Any = None, *, drop: bool = False) -> None:
    values = json.loads(manifest.read_text())
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    if drop:
        del place[last]
    else:
        place[last] = value
    manifest.write_text(json.dumps(values))


def use_network(manifest: Path, content: bytes) -> None:
    """Put another network beside the manifest and bring its digest up to date."""
    manifest.with_suffix(".tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    for key, value in (("sha256", digest), ("model_id", f"tiny-{digest[:12]}"), ("bytes", len(content))):
        change(manifest, key, value)


def fault_of(manifest: Path) -> str:
    with pytest.raises(ModelError) as caught:
        LiteRTEmbedder(manifest=manifest, threads=1)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert "scripts/train/quantize.py" in text
    return text


def faces(count: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(28, axis=1).repeat(28, axis=2)


def test_the_tiny_network_is_what_its_script_makes():
    network = build()
    assert (DATA / "tiny.tflite").read_bytes() == network
    assert json.loads((DATA / "tiny.json").read_text()) == describe(network)


def test_an_embedding_is_a_unit_vector_and_the_same_each_time(tiny):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    first, second, *_ = (embedder.embed(face) for face in faces(2))
    assert first.shape == (16,)
    assert first.dtype == np.float32
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(first, embedder.embed(faces(2)[0]))
    assert not np.allclose(first, second, atol=0.1)


def test_an_embedding_stays_when_the_next_face_comes(tiny):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    first = embedder.embed(faces(2)[0])
    kept = first.copy()
    embedder.embed(faces(2)[1])
    assert np.array_equal(first, kept)


def test_an_embedding_equals_the_slow_way(tiny):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    manifest, interpreter = embedder.manifest, embedder._network._interpreter
    for face in faces(5):
        real = (face.astype(np.float64) - manifest.mean) / manifest.std
        pixels = quantize(real, manifest.input.scale, manifest.input.zero_point)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
        interpreter.invoke()
        raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        slow = l2_normalize(dequantize(raw, manifest.output.scale, manifest.output.zero_point))
        assert np.array_equal(embedder.embed(face), slow)


def test_red_and_blue_are_not_the_same(tiny):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    face = faces(1)[0]
    assert not np.allclose(
        embedder.embed(face), embedder.embed(np.ascontiguousarray(face[..., ::-1])), atol=0.05
    )


def test_a_view_with_strides_embeds_like_its_copy(tiny):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    mirrored = faces(1)[0][:, ::-1]
    assert np.array_equal(embedder.embed(mirrored), embedder.embed(mirrored.copy()))


@pytest.mark.parametrize(
    "face",
    [
        np.zeros((160, 160, 3), np.uint8),
        np.zeros((112, 112), np.uint8),
        np.zeros((112, 112, 3), np.float32),
        np.zeros((1, 112, 112, 3), np.uint8),
    ],
)
def test_a_face_of_another_shape_says_both(tiny, face):
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    with pytest.raises(ModelError, match=r"expects an aligned face \(112, 112, 3\) uint8, received \("):
        embedder.embed(face)


def test_side_and_dimension_come_from_the_manifest(tmp_path):
    embedder = LiteRTEmbedder(manifest=write_tiny(tmp_path, "wide", side=160, dimension=512), threads=1)
    assert (embedder.manifest.side_px, embedder.manifest.embedding_dim) == (160, 512)
    face = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    assert embedder.embed(face).shape == (512,)
    with pytest.raises(ModelError, match=r"expects an aligned face \(160, 160, 3\) uint8, received \(112"):
        embedder.embed(face[:112, :112])


def test_the_interpreter_is_built_once(tiny, monkeypatch):
    import device.vision.network as module

    built = []
    real = module.load_interpreter
    monkeypatch.setattr(module, "load_interpreter", lambda *given: built.append(given) or real(*given))
    embedder = LiteRTEmbedder(manifest=tiny, threads=1)
    for face in faces(3):
        embedder.embed(face)
    assert len(built) == 1


def test_the_shipped_model_is_what_its_manifest_says():
    if not SHIPPED.exists():
        pytest.skip("no model is shipped yet")
    embedder = LiteRTEmbedder(manifest=SHIPPED, threads=1)
    assert embedder.manifest.input.dtype == embedder.manifest.output.dtype == "int8"
    assert embedder.manifest.size_bytes <= 1_500_000
    assert embedder.embed(faces(1)[0]).shape == (embedder.manifest.embedding_dim,) == (256,)
    assert sorted(embedder.manifest.thresholds) == [1e-5, 1e-4, 1e-3]


# Thresholds


def test_a_named_rate_gives_its_threshold(tiny):
    manifest = load_manifest(tiny)
    assert [manifest.threshold(rate) for rate in (1e-3, 1e-4, 1e-5)] == pytest.approx([0.8, 0.9, 0.95])


def test_between_named_rates_the_threshold_is_interpolated_over_the_logarithm(tiny):
    assert load_manifest(tiny).threshold(10**-3.5) == pytest.approx(0.85)


@given(st.floats(-5, -3), st.floats(-5, -3))
def test_a_lower_rate_never_lowers_the_threshold(a, b):
    manifest = load_manifest(DATA / "tiny.json")
    low, high = sorted((a, b))
    assert manifest.threshold(10**low) >= manifest.threshold(10**high) - 1e-12


@pytest.mark.parametrize("rate", [1e-2, 1e-6, 0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_was_not_measured_names_those_that_were(tiny, rate):
    with pytest.raises(ModelError, match=r"choose one of 0.001, 0.0001, 1e-05"):
        load_manifest(tiny).threshold(rate)


# Files that are not what they should be


def test_a_missing_manifest(tmp_path):
    assert "No such file" in fault_of(tmp_path / "none.json")


def test_a_folder_as_manifest(tmp_path):
    assert "directory" in fault_of(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"no json", b"\xff\xfe\x00", b"[" * 100_000, b"[1]", b"null", b"1" * 5000, b" " * 2_000_000],
    ids=["empty", "open", "text", "binary", "deep", "list", "null", "digits", "huge"],
)
def test_a_manifest_of_something_else(tiny, content):
    tiny.write_bytes(content)
    assert "expected a JSON" in fault_of(tiny)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "model_id",
        "file",
        "sha256",
        "bytes",
        "input",
        "output",
        "embedding_dim",
        "alignment",
        "thresholds",
        "input.shape",
        "input.dtype",
        "input.scale",
        "input.zero_point",
        "input.color_order",
        "input.mean",
        "input.std",
        "output.shape",
        "output.dtype",
        "output.scale",
        "output.zero_point",
    ],
)
def test_each_missing_key_and_each_wrong_type_is_named(tiny, key):
    change(tiny, key, [None])
    assert f"key {key}" in fault_of(tiny) or key in ("input", "output")
    change(tiny, key, drop=True)
    assert f"key {key}" in fault_of(tiny)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("alignment", "eyes4-112", "mesh5-112"),
        ("input.color_order", "BGR", "RGB"),
        ("input.shape", [1, 112, 96, 3], "[1, S, S, 3], a square of 32 to 512 px"),
        ("input.shape", [1, 16, 16, 3], "[1, S, S, 3]"),
        ("input.shape", [1, 3, 112, 112], "[1, S, S, 3]"),
        ("input.shape", [112, 112, 3], "[1, S, S, 3]"),
        ("input.shape", [1, 112.0, 112.0, 3], "whole numbers"),
        ("input.dtype", "uint8", "int8 or float32"),
        ("input.std", 0, "above 0"),
        ("input.scale", 0, "above 0"),
        ("input.scale", 10**400, "finite"),
        ("input.zero_point", 300, "int8"),
        ("output.shape", [1, 128], "embedding_dim"),
        ("embedding_dim", 128, "embedding_dim"),
        ("embedding_dim", True, "whole number"),
        ("file", "../tiny.tflite", "without a folder"),
        ("model_id", "tiny-0", "sha256"),
        ("sha256", "abc", "64"),
        ("thresholds", {}, "FMR"),
        ("thresholds", {"strict": 0.5}, "FMR"),
        ("thresholds", {"2": 0.5}, "FMR"),
        ("thresholds", {"1e-3": 2}, "FMR"),
        ("thresholds", {"1e-3": "0.3"}, "FMR"),
        ("thresholds", {"1e-3": 0.5, "1e-4": 0.4}, "rising"),
        ("name", "", "text"),
        ("file", "tiny\n.tflite", "printable text"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_expected(tiny, key, value, says):
    change(tiny, key, value)
    text = fault_of(tiny)
    assert "received" in text
    assert says in text


def test_a_missing_network(tiny):
    tiny.with_suffix(".tflite").unlink()
    assert "No such file" in fault_of(tiny)


def test_a_network_cut_short(tiny):
    network = tiny.with_suffix(".tflite")
    network.write_bytes(network.read_bytes()[:900])
    assert "received 900 bytes" in fault_of(tiny)


def test_a_network_with_one_changed_byte(tiny):
    network = tiny.with_suffix(".tflite")
    content = bytearray(network.read_bytes())
    content[-1] ^= 1
    network.write_bytes(content)
    assert "received sha256" in fault_of(tiny)


@pytest.mark.parametrize("content", [b"I am a text named .tflite\n" * 9, build()[:900], b""])
def test_a_network_that_is_none_although_the_digest_fits(tiny, content):
    use_network(tiny, content or b"x")
    with pytest.raises(ModelError) as caught:
        LiteRTEmbedder(manifest=tiny, threads=1)
    assert "\n" not in str(caught.value)
    assert "tiny.tflite" in str(caught.value)


def test_a_network_for_another_picture_size_says_both_shapes(tiny):
    use_network(tiny, build(side=56))
    text = fault_of(tiny)
    assert "model expects input (1, 112, 112, 3) int8" in text
    assert "received (1, 56, 56, 3) int8" in text


@pytest.mark.parametrize("key", ["input.scale", "input.zero_point", "output.scale", "output.zero_point"])
def test_a_manifest_with_another_quantization_than_the_network(tiny, key):
    change(tiny, key, 7)
    assert f"model expects {key.split('.')[0]}" in fault_of(tiny)


def test_a_manifest_that_says_float_for_an_int8_network(tiny):
    for role in ("input", "output"):
        change(tiny, f"{role}.dtype", "float32")
        assert "float32 by its manifest, received" in fault_of(tiny)
