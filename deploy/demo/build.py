"""Build the demo's bundles from nothing: three worlds, two encoders, two translators. About an hour and a half on two cores.

python -m deploy.demo.build            print the commands, run them, and put the new bundles where the old ones are
python -m deploy.demo.build --list     only print them

Interrupted, it goes on where it was: whatever a command has written already is taken as it is, until all is done.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.demo.people import BUNDLES, CLOUD, EDGE

WORK = Path("run/demo-train")
_MIXED = ("photo=8", "sketch=2", "caricature=2")
_LICENCE = "Apache-2.0"


def commands(work: Path, bundles: Path) -> list[tuple[Path, list[str]]]:
    """What each command writes, and the command. No two worlds share a person, and none has the demo's."""
    cloud, edge, both = work / "cloud.zip", work / "edge.zip", work / "both.zip"
    features = {space: work / f"{space}.npz" for space in (EDGE, CLOUD)}
    steps: list[tuple[Path, list[object]]] = [
        (cloud, ["synth", "--subjects", 4000, "--modalities", *_MIXED, "--seed", 101]),
        (edge, ["synth", "--subjects", 8000, "--images-per-subject", 8, "--seed", 202]),
        (both, ["synth", "--subjects", 8000, "--images-per-subject", 5, "--seed", 303]),
        (bundles / CLOUD, _encoder(cloud, "resnet-50", epochs=16, seed=1)),
        (bundles / EDGE, _encoder(edge, "mobilenetv2-t6", epochs=15, seed=2)),
        *((out, ["extract", "--encoder", bundles / space, "--images", both]) for space, out in features.items()),
    ]
    for source, target in ((EDGE, CLOUD), (CLOUD, EDGE)):
        sets = ["--source", features[source], "--target", features[target]]
        out = bundles / f"{source}-to-{target}"
        steps.append((out, ["fit", *sets, "--method", "contrastive-mlp", "--half-weights", "--licence", _LICENCE]))
    return [(out, ["facebridge-train", *(str(word) for word in words), "--out", str(out)]) for out, words in steps]


def _encoder(images: Path, backbone: str, *, epochs: int, seed: int) -> list[object]:
    kept = ("--validation", 0.05, "--test", 0.05, "--half-weights", "--licence", _LICENCE)
    return [
        "fit",
        "--method",
        "encoder",
        "--images",
        images,
        "--backbone",
        backbone,
        "--epochs",
        epochs,
        "--seed",
        seed,
        *kept,
    ]


def main() -> None:
    """Run what is missing, in order; then put the bundles in place."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the commands and leave")
    parser.add_argument("--bundles", type=Path, default=BUNDLES, help="where to (default: the demo's own)")
    parser.add_argument(
        "--work", type=Path, default=WORK, help="for all that is made on the way (default: %(default)s)"
    )
    options = parser.parse_args()
    made = options.work / "bundles"
    for out, words in commands(options.work, made):
        print("$", shlex.join(words), flush=True)
        if options.list or out.exists():
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run([str(Path(sys.executable).parent / words[0]), *words[1:]], check=False)
        except KeyboardInterrupt:
            sys.exit("interrupted; the same command goes on where it was")
        if done.returncode:
            sys.exit(done.returncode)
    if options.list:
        return
    shutil.rmtree(options.bundles, ignore_errors=True)
    shutil.copytree(made, options.bundles)
    shutil.rmtree(options.work)
    print(f"{options.bundles}: {', '.join(sorted(path.name for path in options.bundles.iterdir()))}")


if __name__ == "__main__":
    main()
