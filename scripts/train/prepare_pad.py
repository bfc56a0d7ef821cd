"""Gather what the liveness network learns from and is tuned on, in one folder.

    python scripts/train/prepare_pad.py --data FACES --wheel mediapipe.whl --pictures FOLDER --out runs/pad

FACES holds `index.csv` and `train/*.zip`, aligned faces; `nuaa.zip`: `client/PPPP/...` live and `imposter/PPPP/...`
printed photographs, PPPP the person; and `lfw.zip`. The wheel is the one of scripts/fetch_models.py: MediaPipe's selfie
segmentation in it tells people from what is behind them. `--pictures` is any folder of photographs and patterns
without people, for walls and clothes.

Writes recorded.npz, people.npz and development.npz. Recorded pictures and frames go through the product's own detector
and alignment; where no face is found they are left out and counted.
"""

from __future__ import annotations

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "prepare_pad.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

from device.numeric.geometry import REFERENCE_POINTS, apply_transform, similarity_transform
from device.programs import Parser
from device.types import Image
from device.vision.liveness import wide_look
from models.pad.data import load_faces
from models.pad.development import DEVELOPMENT_FRAMES, PEOPLE_SHOWN
from models.pad.material import PEOPLE, RECORDED, load_pictures, save_people
from scripts.measure.pad_frames import DEVELOPMENT, Eyes, frames

FOLDERS = {"client": True, "imposter": False}
MARGIN = 0.3  # the recorded pictures end at the chin; the detector wants to see more
FACES, SEED = 14_000, 14
SEGMENTER, SEGMENTER_PX = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite", 256


def recorded(archive: Path, eyes: Eyes) -> dict[str, npt.NDArray]:
    """Return `near`, `wide`, `live`, `person` and `inside` of all recorded pictures with a face."""
    rows: dict[str, list] = {name: [] for name in ("near", "wide", "live", "person", "inside")}
    with zipfile.ZipFile(archive) as pictures:
        names = [name for name in sorted(pictures.namelist()) if name.split("/")[1].isdecimal()]
        for name in tqdm(names, unit="picture", mininterval=5):
            kind, number, _ = Path(name).parts
            picture, rim = with_rim(decode(pictures.read(name)))
            found = eyes.detector.detect(picture)
            if found:
                face = eyes.aligner.align(picture, found[0])
                inside = recorded_box(face.landmarks, picture.shape, rim)
                look = wide_look(picture, face.landmarks)
                values = (face.measured, look, FOLDERS[kind], int(number), np.float32(inside))
                for row, value in zip(rows.values(), values, strict=True):
                    row.append(value)
    print(f"{len(rows['near'])} of {len(names)} recorded pictures have a face that was found")
    return {name: np.stack(values) for name, values in rows.items()}


def decode(data: bytes) -> Image:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def with_rim(picture: Image) -> tuple[Image, int]:
    """Return a picture with a rim of its own edge pixels about it, and the rim's width."""
    rim = int(MARGIN * max(picture.shape[:2]))
    return np.asarray(cv2.copyMakeBorder(picture, *[rim] * 4, cv2.BORDER_REPLICATE), np.uint8), rim


def recorded_box(
    landmarks: np.ndarray, shape: tuple[int, ...], rim: int
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what was recorded, in px of the aligned crop; beyond is made up."""
    to_crop = similarity_transform(landmarks, REFERENCE_POINTS)
    height, width = shape[:2]
    corners = np.array([(x, y) for x in (rim, width - 1 - rim) for y in (rim, height - 1 - rim)])
    x, y = apply_transform(to_crop, corners).T
    middle_x, middle_y = np.sort(x), np.sort(y)
    return middle_x[1], middle_y[1], middle_x[2], middle_y[2]


def masks_of(faces: npt.NDArray[np.uint8], wheel: Path) -> npt.NDArray[np.uint8]:
    """Return where the person is in aligned faces (N, 112, 112, 3): (N, 112, 112), 255 for the person."""
    with zipfile.ZipFile(wheel) as file:
        segmenter = Interpreter(model_content=file.read(SEGMENTER), num_threads=1)
    segmenter.allocate_tensors()
    source, target = segmenter.get_input_details()[0]["index"], segmenter.get_output_details()[0]["index"]
    masks = np.empty(faces.shape[:3], np.uint8)
    for mask, face in zip(masks, tqdm(faces, unit="face", mininterval=5), strict=True):
        large = cv2.resize(face, (SEGMENTER_PX, SEGMENTER_PX), interpolation=cv2.INTER_CUBIC)
        segmenter.set_tensor(source, large[None].astype(np.float32) / 255)
        segmenter.invoke()
        share = np.clip(255 * segmenter.get_tensor(target)[0, ..., 0], 0, 255).astype(np.uint8)
        mask[:] = cv2.resize(share, mask.shape, interpolation=cv2.INTER_AREA)
    return masks


def development(archive: Path, eyes: Eyes) -> dict[str, npt.NDArray]:
    """Return `near`, `wide` and `groups` of frames of the people to choose on."""
    near, wide, groups = [], [], []
    for group, frame, place in frames(archive, DEVELOPMENT, PEOPLE_SHOWN, eyes):
        face = eyes.accepted(frame, place)
        if face is not None:
            near.append(face.measured)
            wide.append(wide_look(frame, face.landmarks))
            groups.append(group)
    return {"near": np.stack(near), "wide": np.stack(wide), "groups": np.array(groups)}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Gather what the liveness network learns from.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with index.csv, train, nuaa.zip, lfw.zip"
    )
    parser.add_argument(
        "--wheel", type=Path, required=True, help="mediapipe's wheel of scripts/fetch_models.py"
    )
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    eyes = Eyes()
    np.savez(args.out / RECORDED, **recorded(args.data / "nuaa.zip", eyes))
    np.savez(args.out / DEVELOPMENT_FRAMES, **development(args.data / "lfw.zip", eyes))
    faces, held_out = load_faces(args.data, FACES, SEED)
    pictures = load_pictures(args.pictures)
    print(f"{len(faces)} faces, {len(pictures)} pictures")
    save_people(args.out / PEOPLE, faces, masks_of(faces, args.wheel), held_out, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
