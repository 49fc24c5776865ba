"""The data sets that are known, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from training.data.layouts.aff_wild2 import read_aff_wild2
from training.data.layouts.affectnet import read_affectnet
from training.data.layouts.cavi import read_cavi
from training.data.layouts.celeba import read_celeba
from training.data.layouts.cub import read_cub
from training.data.layouts.cufs import read_cufs
from training.data.layouts.cufsf import read_cufsf
from training.data.layouts.emotionet import read_emotionet
from training.data.layouts.folder import Folder
from training.data.layouts.lfw_sketch import read_lfw_sketch
from training.data.layouts.listing import Listing
from training.data.layouts.prip_hdc import read_prip_hdc
from training.data.layouts.raf_db import read_raf_db
from training.data.layouts.webcaricature import read_webcaricature


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set is read, and how much of it its paper measures on: of sketches that is Weak-Strong GAN (AAAI 2019).

    One that tells what pictures show has neither probes nor a gallery.
    """

    read: Callable[[Folder], Listing]
    num_probes: int = 0
    num_gallery: int = 0

    @property
    def has_roles(self) -> bool:
        """Whether some pictures are asked about, and others are in the gallery."""
        return self.num_probes > 0


LAYOUTS = {
    "cufs": Layout(read_cufs, 311, 311),
    "cufsf": Layout(read_cufsf, 1194, 1194),
    "prip-hdc": Layout(read_prip_hdc, 47, 47),
    "lfw-sketch": Layout(read_lfw_sketch, 1000, 12233),
    "webcaricature": Layout(read_webcaricature, 6024, 5974),
    "cavi": Layout(read_cavi, 5091, 6427),
    "affectnet": Layout(read_affectnet),
    "raf-db": Layout(read_raf_db),
    "emotionet": Layout(read_emotionet),
    "aff-wild2": Layout(read_aff_wild2),
    "celeba": Layout(read_celeba),
    "cub": Layout(read_cub),
}
