"""`calibration.json` of a bundle: what scores mean in each comparison that the bundle makes possible.

Operating points at the usual rates, for people, and scales, from which a threshold at any rate and the meaning of any
score are read. Nothing is extrapolated: below the lowest rate that the rule of 30 allows, no rate is stated.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from models.documents import parse_document
from models.errors import BundleError
from models.operating_point import OperatingPoint, Rate

MODALITY_PATTERN = "[a-z][a-z0-9-]{0,31}"
COMPARISON_PATTERN = rf"(native-source|native-target|translated|both-translated)(/{MODALITY_PATTERN})?"
Comparison = Annotated[str, StringConstraints(pattern=f"^{COMPARISON_PATTERN}$")]
"""`native-source`, `native-target`: both native in that space; `translated`: one translated, one native in the target space;
`both-translated`: both by this bundle. With `/sketch` behind it, or another modality: of one such picture and one photo."""
PHOTO = "photo"

_Threshold = Annotated[float, Field(ge=-1.01, le=1.01, allow_inf_nan=False)]
_Evidence = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]


def comparison_of(kind: str, modality: str = PHOTO) -> Comparison:
    """The key of a kind of comparison between a picture of that modality and a photo.

    >>> comparison_of("translated"), comparison_of("translated", "sketch")
    ('translated', 'translated/sketch')
    """
    return kind if modality == PHOTO else f"{kind}/{modality}"


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """What scores of one comparison mean, in steps: entry i holds from `threshold[i]` up to the next threshold."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    threshold: tuple[_Threshold, ...]
    """In ascending order."""
    fmr: tuple[Rate, ...]
    """Impostors reach the threshold at this rate or less."""
    fnmr: tuple[Rate, ...]
    """Genuine pairs miss the threshold at this rate."""
    log10_lr: tuple[_Evidence, ...]
    """Log to the base 10 of the likelihood ratio of scores in the step: how many times as likely they are where both are of one
    person as where they are of two."""
    num_genuine: Annotated[int, Field(ge=1)]
    num_impostors: Annotated[int, Field(ge=1)]

    def __post_init__(self) -> None:
        columns = (self.threshold, self.fmr, self.fnmr, self.log10_lr)
        if not self.threshold or len({len(column) for column in columns}) != 1:
            raise ValueError("a scale needs steps, and as many of each column")
        for column in (self.threshold, [-rate for rate in self.fmr], self.fnmr, self.log10_lr):
            if list(column) != sorted(column):
                raise ValueError("a scale must be monotone")

    @property
    def lowest_fmr(self) -> float:
        """The lowest false-match rate that is stated."""
        return self.fmr[-1]

    def point_at(self, fmr: float) -> OperatingPoint | None:
        """The lowest threshold at which `fmr` is kept; None where that is lower than what can be stated.

        >>> scale = ScoreScale((-0.2, 0.3, 0.5), (1.0, 0.1, 0.01), (0.0, 0.1, 0.4), (-2.0, 0.5, 1.5), 80, 3160)
        >>> scale.point_at(0.05).fmr, scale.point_at(0.001)
        (0.01, None)
        """
        place = next((i for i, rate in enumerate(self.fmr) if rate <= fmr * (1 + 1e-9)), None)
        if place is None:
            return None
        return OperatingPoint(
            self.fmr[place], self.threshold[place], self.fnmr[place], self.num_genuine, self.num_impostors
        )

    def fmr_of(self, score: float) -> float:
        """At most this share of impostors reaches `score`; never less than what can be stated."""
        place = self._place(score)
        return 1.0 if place < 0 else self.fmr[place]

    def log10_lr_of(self, score: float) -> float:
        """The log to the base 10 of the likelihood ratio of `score`."""
        return self.log10_lr[max(0, self._place(score))]

    def _place(self, score: float) -> int:
        return bisect_right(self.threshold, score) - 1


def strictest(scales: Sequence[ScoreScale]) -> ScoreScale:
    """A scale that promises no more than any of `scales` does: the highest rates, and the weakest evidence for one person.

    >>> one = ScoreScale((0.0, 0.4), (1.0, 0.01), (0.0, 0.2), (-1.0, 2.0), 80, 3160)
    >>> other = ScoreScale((0.1, 0.5), (1.0, 0.01), (0.0, 0.3), (-1.0, 1.0), 90, 4005)
    >>> strictest([one, other]).point_at(0.01).threshold, strictest([one, other]).fmr_of(0.45)
    (0.5, 1.0)
    """
    if len(scales) == 1:
        return scales[0]
    thresholds = sorted({threshold for scale in scales for threshold in scale.threshold})
    return ScoreScale(
        tuple(thresholds),
        tuple(max(scale.fmr_of(threshold) for scale in scales) for threshold in thresholds),
        tuple(max(scale.fnmr[max(0, scale._place(threshold))] for scale in scales) for threshold in thresholds),
        tuple(min(scale.log10_lr_of(threshold) for scale in scales) for threshold in thresholds),
        min(scale.num_genuine for scale in scales),
        min(scale.num_impostors for scale in scales),
    )


@dataclass(frozen=True, slots=True)
class ChainCalibration:
    """Of features that came through other translators first: `translated` and `both-translated`, of any modality."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    points: dict[Comparison, tuple[OperatingPoint, ...]]
    scales: dict[Comparison, ScoreScale]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The operating points of every comparison, each list from the highest FMR to the lowest, and the scales they are of."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    points: dict[Comparison, tuple[OperatingPoint, ...]] = field(default_factory=dict)
    against: dict[str, tuple[OperatingPoint, ...]] = field(default_factory=dict)
    """Of a projection into a common space, by the fingerprint of the other side's space, with `/sketch` or another modality
    behind it as in `Comparison`: `translated` holds for them all."""
    counted: Literal["pictures", "people"] = "pictures"
    """Whether every two pictures count alike, as once was usual, or every two people. Rates of one are not those of the other."""
    scales: dict[Comparison, ScoreScale] = field(default_factory=dict)
    """None in bundles that were made before there were scales."""
    scales_against: dict[str, ScoreScale] = field(default_factory=dict)
    """Of a projection into a common space, by the same keys as `against`."""
    after: dict[str, ChainCalibration] = field(default_factory=dict)
    """Of a translator at the end of a route of several, by the `chain_of` those before it."""

    @property
    def compared(self) -> set[str]:
        """The comparisons of which something was measured, at the end of whatever route."""
        with_others = (comparison_of("translated", key.partition("/")[2] or PHOTO) for key in self.against)
        return {*self.points, *with_others}.union(*(chain.points for chain in self.after.values()))

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON values."""
        document = asdict(self)
        return {name: value for name, value in document.items() if value or name == "points"}


_CALIBRATION = TypeAdapter(Calibration)


def parse_calibration(text: bytes | str) -> Calibration:
    """Read `calibration.json`. Raises `BundleError`."""
    return parse_document(_CALIBRATION, text, what="calibration.json", error=BundleError)
