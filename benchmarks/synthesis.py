"""How fast procedural pictures are made: one process, one core, as JPEG in memory."""

import io
import time
from statistics import median

from PIL import Image
from threadpoolctl import threadpool_limits

from benchmarks.document import table
from benchmarks.faces import Faces
from training.data.synthetic.world import MODALITIES, World, WorldSettings

PICTURES = 300
PICTURES_A_PERSON = 5
RUNS = 5
_OTHER_PEOPLE = 1_000


def measure(_faces: Faces) -> str:
    """Pictures a second by modality."""
    rows = []
    with threadpool_limits(1):
        for modality in MODALITIES:
            rates = [_rate(modality, _OTHER_PEOPLE * run) for run in range(RUNS)]
            rows.append([modality, f"**{median(rates):.0f}**", f"{min(rates):.0f} to {max(rates):.0f}"])
    text = (
        f"Pictures of 112 x 112 made and encoded as JPEG by one thread, median of {RUNS} runs of {PICTURES} pictures "
        f"({PICTURES_A_PERSON} of a person)."
    )
    return f"{text}\n\n{table(['modality', 'pictures a second', 'all runs'], rows)}"


def _rate(modality: str, first: int) -> float:
    world = World(WorldSettings())
    started = time.perf_counter()
    for place in range(PICTURES):
        picture = world.picture(first + place // PICTURES_A_PERSON, modality, place % PICTURES_A_PERSON)
        Image.fromarray(picture.pixels).save(io.BytesIO(), "JPEG", quality=picture.quality)
    return PICTURES / (time.perf_counter() - started)
