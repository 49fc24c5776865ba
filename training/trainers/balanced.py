"""Batches of as many pictures of each person, and of each modality: some have hundreds of photos and one drawing.

Shapes: N pictures, P people, B rows of a batch.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class BalancedBatches:
    """Rows of pictures by who is on them, some of each modality.

    Where more people have one modality alone, half of a batch are people of both, as from them alone it is learned what the
    modalities have in common.
    """

    def __init__(
        self, class_N: npt.NDArray[np.int64], is_weak_N: npt.NDArray[np.bool_], *, num_people: int, num_pictures: int
    ) -> None:
        """Batches of so many people, and of each `num_pictures` weak pictures and as many photos, as far as there are any."""
        self.num_people = int(class_N.max()) + 1
        self._weak, self._photos = (
            [torch.from_numpy(np.flatnonzero((class_N == one) & of)) for one in range(self.num_people)]
            for of in (is_weak_N, ~is_weak_N)
        )
        self._num_pictures = num_pictures
        has_both = torch.tensor(
            [bool(len(weak) and len(photos)) for weak, photos in zip(self._weak, self._photos, strict=True)]
        )
        self.batch = min(num_people, self.num_people)
        """People in one."""
        both, others = (torch.nonzero(of)[:, 0] for of in (has_both, ~has_both))
        self._groups, self._shares = [torch.arange(self.num_people)], [self.batch]
        if 0 < len(both) < len(others) and self.batch > 1:
            num_both = min(len(both), self.batch // 2)
            self._groups, self._shares = [both, others], [num_both, self.batch - num_both]
        self.steps_an_epoch = -(-max(1, int(is_weak_N.sum())) // (num_pictures * self._shares[0]))

    def order(self, random: torch.Generator) -> Tensor:
        """The people of an epoch's batches, one batch after the other: of a group everybody as often as anybody, or once more."""
        drawn = [
            _round(group, self.steps_an_epoch * share, random).view(self.steps_an_epoch, share)
            for group, share in zip(self._groups, self._shares, strict=True)
        ]
        return torch.cat(drawn, dim=1).flatten()

    def weak(self, people_P: Tensor, random: torch.Generator) -> Tensor:
        """Rows (B,) of weak pictures of these people."""
        return self._some(self._weak, people_P, random)

    def photos(self, people_P: Tensor, random: torch.Generator) -> Tensor:
        """Rows (B,) of their photos."""
        return self._some(self._photos, people_P, random)

    def _some(self, rows_of: list[Tensor], people_P: Tensor, random: torch.Generator) -> Tensor:
        of_people = [rows_of[one] for one in people_P.tolist()]
        some = [rows[torch.randperm(len(rows), generator=random)[: self._num_pictures]] for rows in of_people]
        return torch.cat([torch.empty(0, dtype=torch.int64), *some])


def _round(group: Tensor, num: int, random: torch.Generator) -> Tensor:
    """So many of a group, all of it before anybody comes again."""
    rounds = -(-num // len(group))
    return torch.cat([group[torch.randperm(len(group), generator=random)] for _ in range(rounds)])[:num]
