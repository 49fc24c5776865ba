"""What a stolen gallery gives away: faces painted from features by a generator that learns to paint alone."""

import json
import shutil
import subprocess
import sys
from typing import Any

from benchmarks.document import table
from benchmarks.faces import KEPT, Faces
from benchmarks.translation import TEST
from training.data.feature_set_files import save_feature_set

STOLEN, OTHER = "mobilefacenet-128", "edgeface-xxs-512"
"""The encoder whose features were stolen, and another one that may guard another door."""
ROWS = {
    "real": "real pictures, other ones than in the gallery",
    "painted_other": "painted from the features of those",
    "painted_same": "painted from the features in the gallery",
}


def measure(faces: Faces) -> str:
    """The generator is trained each time; figures are of people whom it has not seen.

    Not R3AN's own: there the regression pulls the picture away from a face, and the risk would look smaller than it is.
    """
    folder = KEPT / "privacy"
    folder.mkdir(parents=True, exist_ok=True)
    sets = {name: folder / f"{name}.npz" for name in (STOLEN, OTHER)}
    for name, path in sets.items():
        save_feature_set(faces.features(name), path)
    pictures = faces.folder / "data" / "lfw112.zip"
    for bundle in ("arch1", "arch1-reconstruction"):
        shutil.rmtree(folder / bundle, ignore_errors=True)
    sides = ["--source", sets[STOLEN], "--target", sets[OTHER], "--images", pictures, "--test", TEST]
    _command("fit", "--method", "arch1", "--with-reconstruction", *sides, "--out", folder / "arch1")
    rows = []
    found: dict[str, Any] = {}
    for judge in (STOLEN, OTHER):
        out = folder / f"{judge}.json"
        given = ["--generator", folder / "arch1-reconstruction", "--features", sets[STOLEN], "--images", pictures]
        encoder = ["--encoder", judge, "--encoders", faces.folder / "encoders" / "encoders.json"]
        _command("privacy", *given, *encoder, "--out", out)
        found = json.loads(out.read_text())
        for key, words in ROWS.items():
            figures = found[key]
            rank1 = f"{figures['rank1']:.4f}"
            shown = f"**{rank1}**" if key == "painted_same" else rank1
            rows.append([judge, words, shown, f"{figures['tar_far_1e2']:.4f}", f"{figures['tar_far_1e3']:.4f}"])
    text = (
        f"Features of {STOLEN}; `fit --method arch1 --with-reconstruction` (the reconstruction of R3AN alone), recipe `small`. "
        f"{found['num_subjects']:,} people whom the generator has not seen, chance {found['chance']:.4f}. Pixels: "
        f"{found['variance_explained']:.0%} of their variance explained, PSNR {found['psnr']:.1f} dB "
        f"({found['psnr_mean_face']:.1f} dB for the mean face)."
    )
    header = ["judge", "probes", "rank-1", "TAR at FAR 1e-2", "TAR at FAR 1e-3"]
    return f"{text}\n\n{table(header, rows)}"


def _command(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "training", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
