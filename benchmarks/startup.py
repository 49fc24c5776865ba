"""From `facebridge serve` to the first answer that says ready, with five bundles and an empty gallery."""

import http.client
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.faces import Faces
from models.split import SplitRule
from training.data.pairs import join_by_image
from training.evaluation.calibration import calibrate
from training.export.bundles import write_encoder_bundle, write_translator_bundle
from training.recipes.translators import SplitPairs, fit_methods

ROUNDS = 5
ENCODER_BUNDLES = ("mobilefacenet-128", "edgeface-xxs-512", "mobileface-v2-256")
TRANSLATORS = (("mobilefacenet-128", "edgeface-xxs-512"), ("edgeface-xxs-512", "mobilefacenet-128"))


def measure(faces: Faces) -> str:
    """The median of whole-process wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(folder) / "bundles"
        for name in ENCODER_BUNDLES:
            write_encoder_bundle(bundles / name, faces.encoder(name))
        for source, target in TRANSLATORS:
            _translator(faces, source, target, bundles / f"{source}-to-{target}"[:60])
        seconds = [_start(bundles, Path(folder) / f"data-{number}") for number in range(ROUNDS)]
    return (
        f"Five bundles ({len(ENCODER_BUNDLES)} encoders, {len(TRANSLATORS)} translators) and no galleries: "
        f"**{median(seconds):.2f} s** from the command to the first answer of `/healthz/ready` (median of {ROUNDS}; "
        f"{min(seconds):.2f} to {max(seconds):.2f})."
    )


def _translator(faces: Faces, source: str, target: str, folder: Path) -> None:
    pairs = join_by_image(faces.features(source), faces.features(target))
    parts = SplitPairs.of(pairs, SplitRule("subject", 0, 0.1, 0.2))
    (fitted,) = fit_methods(parts, "ridge", 0)
    write_translator_bundle(
        folder,
        source=pairs.source.space,
        target=pairs.target.space,
        data_digests={"source": pairs.source.digest, "target": pairs.target.digest},
        method="ridge",
        graph=fitted.graph,
        calibration=calibrate(parts.validation, fitted.fitted.model(parts.validation.source.feature)),
        licence="unknown",
        seed=0,
        split=parts.rule,
        hyperparameters=fitted.fitted.hyperparameters,
        metrics={},
        test=fitted.test,
    )


def _start(bundles: Path, data: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--bundles", str(bundles), "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = next(int(found[1]) for line in process.stdout if (found := re.search(r"http://[^:]+:(\d+)", line)))
        while not _is_ready(port):
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        process.terminate()
        process.communicate()
    return seconds


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
