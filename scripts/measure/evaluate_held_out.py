"""Measure models on held-out training faces as a door sees them: small, dim, compressed, against a clean template.

    python scripts/measure/evaluate_held_out.py --data FACES [MODEL ...]

This is what settings are chosen by; LFW is not. MODEL is the name of a shipped network or the path of a manifest. A
template is the mean of a face and its mirror image, as `enroll.py` stores it; every other face of a person, and
everybody else's, is compared with it in each view. Prints TAR at FMR 1e-3 and 1e-4, in percent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "evaluate_held_out.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import numpy as np
import numpy.typing as npt

from device.build import manifest_path
from device.config import Config
from device.errors import UsageError
from device.numeric.similarity import l2_normalize
from device.programs import Parser, run
from device.types import Image
from device.vision.embed import LiteRTEmbedder
from models.training.data import HELD_OUT_ONE_IN, clip, jpeg, low_resolution
from models.training.metrics import tar_at
from scripts.measure.group_errors import embed_faces, held_out_rows, read_faces

FMRS = (1e-3, 1e-4)
VIEWS: dict[str, Callable[[Image], Image]] = {
    "as stored": lambda face: face,
    "48 px": lambda face: low_resolution(face, 48),
    "32 px": lambda face: low_resolution(face, 32),
    "a quarter of the light": lambda face: clip(face * np.float32(0.25)),
    "JPEG quality 20": lambda face: jpeg(face, 20),
}


def labeled_faces(data: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read the held-out faces (N, 112, 112, 3) whose identities (N,) are known."""
    by_source = held_out_rows(data, HELD_OUT_ONE_IN)
    rows = [row for source in by_source.values() for row in source if int(row["identity"]) >= 0]
    if not rows:
        raise UsageError(
            f"{data} has no held-out face of a known person: index.csv needs an identity of 40, 80 ..."
        )
    return np.stack(read_faces(data, rows)), np.array([int(row["identity"]) for row in rows])


def tars(
    templates: npt.NDArray[np.float32],
    probes: npt.NDArray[np.float32],
    identities: npt.NDArray[np.int64],
) -> list[float]:
    """Return TAR at each of `FMRS` over all (template, probe) pairs of two different faces."""
    similarity = templates @ probes.T
    different = ~np.eye(len(identities), dtype=bool)
    mated = (identities[:, None] == identities[None]) & different
    return [100 * tar_at(similarity[mated], similarity[different & ~mated], fmr) for fmr in FMRS]


def rows(
    embedder: LiteRTEmbedder, faces: npt.NDArray[np.uint8], identities: npt.NDArray[np.int64]
) -> list[str]:
    """Return one line a view."""
    plain, mirrored = embed_faces(embedder, list(faces)), embed_faces(embedder, list(faces[:, :, ::-1]))
    templates = np.stack([l2_normalize(row) for row in plain + mirrored])
    found = {"as stored, no mirror image in the template": tars(plain, plain, identities)}
    for name, view in VIEWS.items():
        probes = embed_faces(embedder, [view(face) for face in faces])
        found[name] = tars(templates, probes, identities)
    return [
        f"{embedder.model_id}  {' / '.join(f'{tar:.2f}' for tar in values)}  {name}"
        for name, values in found.items()
    ]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "models", nargs="*", default=[Config().model], metavar="MODEL", help="names or manifests"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    return run("evaluate_held_out.py", lambda: act(parser.parse_args(argv)))


def act(args: argparse.Namespace) -> int:
    embedders = [LiteRTEmbedder(manifest=manifest_path(model), threads=1) for model in args.models]
    faces, identities = labeled_faces(args.data)
    print(
        f"{len(faces)} held-out faces of {len(np.unique(identities))} people; TAR@1e-3 / TAR@1e-4 in percent"
    )
    for embedder in embedders:
        print("\n".join(rows(embedder, faces, identities)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
