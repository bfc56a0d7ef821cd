"""Label aligned faces with MediaPipe's face mesh: what the landmark network learns from.

    python scripts/train/label_landmarks.py --data FACES --out runs/landmarks/labels.npz

Each 112x112 crop is seen by the mesh twice, as it is and mirrored, in the square in which the door's detector would
have put it; the labels are the mean of both. Faces that the mesh does not confirm, or on which it disagrees with
itself, are marked as not `kept`. About 4 ms a face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from importlib.util import find_spec

if find_spec("torch") is None:
    sys.exit(
        "label_landmarks.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.numeric.geometry import apply_transform, invert_transform
from device.programs import Parser, run
from device.vision.assets import FACE_MESH, find_asset
from device.vision.runtime import load_interpreter
from models.landmarks.data import region_transform
from models.landmarks.points import LANDMARKS, mean_error, mirrored
from models.training.data import SIZE_PX, load_crops

MESH_INPUT_PX = 192
LEAST_PRESENCE = 2.0  # logit; the door's own limit is 0
LARGEST_DISAGREEMENT = 0.08  # mean over the points, of the inter-ocular distance


class MeshLabeler:
    """MediaPipe's mesh on training crops."""

    def __init__(self, model: Path) -> None:
        self.interpreter = load_interpreter(model, threads=1)
        self.input = self.interpreter.get_input_details()[0]["index"]
        outputs = {
            int(np.prod(details["shape"])): details["index"]
            for details in self.interpreter.get_output_details()
        }
        self.mesh, self.presence = outputs[468 * 3], outputs[1]
        self.to_region = region_transform(MESH_INPUT_PX)
        self.to_crop = invert_transform(self.to_region)

    def label(self, crop: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float64], float, float]:
        """Return 127 points (127, 2) in crop pixels, the lower presence, and the disagreement."""
        points, presence = self.look(crop, cv2.BORDER_REPLICATE)
        flipped, also = self.look(np.ascontiguousarray(crop[:, ::-1]), cv2.BORDER_REFLECT_101)
        turned = mirrored(flipped, SIZE_PX)
        apart = mean_error(turned, points).mean()
        return (points + turned) / 2, min(presence, also), float(apart)

    def look(self, crop: npt.NDArray[np.uint8], border: int) -> tuple[npt.NDArray[np.float64], float]:
        side = (MESH_INPUT_PX, MESH_INPUT_PX)
        region = cv2.warpAffine(crop, self.to_region, side, flags=cv2.INTER_LINEAR, borderMode=border)
        self.interpreter.set_tensor(self.input, region[None].astype(np.float32) / 255)
        self.interpreter.invoke()
        mesh = self.interpreter.get_tensor(self.mesh).reshape(468, 3)[list(LANDMARKS), :2]
        return apply_transform(self.to_crop, mesh), float(self.interpreter.get_tensor(self.presence).item())


def label_all(data: Path, out: Path, limit: int | None) -> str:
    """Write `points` (N, 127, 2), `presence`, `disagreement` and `kept` (N,), in the crops' order."""
    crops = load_crops(data, limit)
    labeler = MeshLabeler(find_asset(FACE_MESH))
    found = [labeler.label(crop) for crop in tqdm(crops.images, unit="face", desc="mesh")]
    points = np.stack([item[0] for item in found])
    presence, disagreement = np.array([item[1:] for item in found], np.float32).T
    kept = (presence >= LEAST_PRESENCE) & (disagreement <= LARGEST_DISAGREEMENT)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        out,
        points=points.astype(np.float16),
        presence=presence,
        disagreement=disagreement,
        kept=kept,
    )
    return f"{out}: {len(kept)} faces labeled, {kept.sum()} kept"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Label aligned faces with MediaPipe's face mesh.")
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    parser.add_argument("--out", type=Path, required=True, help="file for the labels (.npz)")
    parser.add_argument("--limit", type=int, help="use the first N faces only")
    return run("label_landmarks.py", lambda: act(parser.parse_args(argv)))


def act(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    print(label_all(args.data, args.out, args.limit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
