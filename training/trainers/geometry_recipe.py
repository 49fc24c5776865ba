"""How labels beside identity shape an embedding; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class GeometryRecipe:
    """What counts beside telling people apart, each by how much; zero for none.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Sec. III.
    """

    base: Literal["arcface", "triplet"] = "arcface"
    label: str = ""
    """The column of the listing that is looked at."""
    minimization: float = 0.0
    """PDM, Eq. 2."""
    preservation: float = 0.0
    """PDP, Eq. 3."""
    basis: float = 0.0
    """FBV, Eq. 4."""
    composition: float = 0.0
    """CE, Eq. 5."""
    joint: float = 0.0
    """Multi-task learning, their rival: the label is told from the feature, Sec. III-G."""
    is_spherical: bool = True
    """Whether features are of length one where losses see them; they always are where they are compared."""
    margin: float = 0.2
    """alpha of Eq. 1, of triplets."""
    num_pictures: int = 6
    """Of each person that come one after the other in a batch, of as many labels as there are."""
    basis_length: float = 1.0
    most_quadruples: int = 4096
    """Of a batch that are looked at."""

    @property
    def needs_labels(self) -> bool:
        """Whether any of it looks at labels."""
        return any((self.minimization, self.preservation, self.basis, self.composition, self.joint))
