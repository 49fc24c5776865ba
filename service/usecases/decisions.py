"""Decisions at a stated rate: which threshold is asked for, and what to say where none was measured."""

from dataclasses import dataclass

from models.operating_point import STATED_RATES, OperatingPoint, fmr_for_fpir, people_needed
from service.errors import NoOperatingPointError
from service.inference.thresholds import Measured


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rate to decide at: false matches of comparisons, or false positives of whole searches. Exactly one is set."""

    fmr: float | None = None
    fpir: float | None = None

    def fmr_among(self, num_templates: int) -> float:
        """The false-match rate of a comparison, in a search of that many templates."""
        if self.fmr is not None:
            return self.fmr
        assert self.fpir is not None
        return fmr_for_fpir(self.fpir, num_templates)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a score means in its comparison; None where that was not measured."""

    fmr: float | None
    """At most this share of impostors scores as high; never less than the lowest rate that could be shown."""
    log10_lr: float | None
    """Log to the base 10 of how many times as likely the score is of one person as of two."""


def meaning_of(score: float, measured: Measured) -> Meaning:
    """Read from the scale of the comparison."""
    scale = measured.scale
    return Meaning(scale.fmr_of(score), scale.log10_lr_of(score)) if scale else Meaning(None, None)


def threshold_for(measured: Measured, fmr: float, *, why: str = "") -> OperatingPoint:
    """The operating point that keeps `fmr`. Raises `NoOperatingPointError` saying what it would take; `why` tells what for."""
    if point := measured.point_at(fmr):
        return point
    known = ", ".join(f"{point.fmr:g}" for point in measured.points) or "none"
    if measured.scale and measured.scale.lowest_fmr not in (point.fmr for point in measured.points):
        known += f", down to {measured.scale.lowest_fmr:.2g}"
    takes = f", which takes {people_needed(fmr):,} people to validate on" if fmr >= min(STATED_RATES) / 1000 else ""
    raise NoOperatingPointError(
        f"no threshold was measured at this false-match rate here{why}{takes}; measured: {known}"
    )
