"""The data sets that are known, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from training.data.layouts.cavi import read_cavi
from training.data.layouts.cufs import read_cufs
from training.data.layouts.cufsf import read_cufsf
from training.data.layouts.folder import Folder
from training.data.layouts.lfw_sketch import read_lfw_sketch
from training.data.layouts.listing import Listing
from training.data.layouts.prip_hdc import read_prip_hdc
from training.data.layouts.webcaricature import read_webcaricature


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set is read, and how much of it its paper measures on: of sketches that is Weak-Strong GAN (AAAI 2019)."""

    read: Callable[[Folder], Listing]
    num_probes: int
    num_gallery: int


LAYOUTS = {
    "cufs": Layout(read_cufs, 311, 311),
    "cufsf": Layout(read_cufsf, 1194, 1194),
    "prip-hdc": Layout(read_prip_hdc, 47, 47),
    "lfw-sketch": Layout(read_lfw_sketch, 1000, 12233),
    "webcaricature": Layout(read_webcaricature, 6024, 5974),
    "cavi": Layout(read_cavi, 5091, 6427),
}
