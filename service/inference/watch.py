"""The watch on arriving features: does a stream that claims a space look like features of it?

Another model of the same dimension, forgotten normalisation, swapped colours or missing alignment give features that
pass every check and compare with nothing. Two signs are looked at, both against what the bundles' references measured:

- outliers: too many of the last RECENT features are like hardly any of the space;
- the stream: the last different faces together are off, in their spread or their mean, by more than chance.

Only different faces count for the second, as one person's pictures have much in common. A camera, a country or an age that the
reference has not seen may be off too: then it must be measured anew (`facebridge-train calibrate`), or looked into.

Shapes: n features, D dimension, W faces of the window.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.bundle import COMMON_SPACE_METHODS, MEASURED_ANEW, Bundle
from models.features import FloatArray
from models.reference import FEWEST_FACES, STREAM, SpaceReference
from models.space import Space

RECENT = 200
"""Features among which outliers are counted."""
FEWEST_OUTLIERS = 5
OUTLIER_SHARE = 0.1
"""Of features of the space one in a thousand is an outlier."""
CALM = 0.8
"""An alarm ends below this share of what it takes to begin."""
MOST_AT_ONCE = 200
"""Features of one request that are looked at, evenly spread over it."""

State = Literal["unknown", "usual", "suspected"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watch says of a space."""

    state: State = "unknown"
    reason: str = ""
    """Why it is suspected."""
    num_seen: int = 0
    outlier_share: float = 0.0
    """Of the last RECENT features."""
    num_faces: int = 0
    """Different ones in the window."""
    stream_score: float | None = None
    """How far they are off, over what hardly any stream of the space is; None with too few faces."""


class Watch:
    """Watches every space of which a bundle has a reference."""

    def __init__(
        self, bundles: Iterable[Bundle], on_change: Callable[[Space, Seen], None] = lambda space, seen: None
    ) -> None:
        """`on_change` hears of every alarm that begins or ends."""
        self._by_space: dict[str, SpaceWatch] = {}
        for bundle in sorted(bundles, key=_precedence):
            source, model = bundle.manifest.source, bundle.confidence
            if model is not None and source is not None:
                is_common = bundle.manifest.method in COMMON_SPACE_METHODS
                for space, reference in ((source, model.source), (bundle.manifest.target, model.target)):
                    # Features of several encoders lie in a common space, each like its own.
                    if reference is None or (is_common and reference is model.target):
                        continue
                    self._by_space.setdefault(space.fingerprint, SpaceWatch(space, reference, on_change))

    @property
    def spaces(self) -> Mapping[str, Seen]:
        """What is said of each watched space, by fingerprint."""
        return {fingerprint: one.seen for fingerprint, one in self._by_space.items()}

    def observe(self, features: FloatArray, space: Space) -> Seen:
        """Look at unit features (n, D) that claim a space, and say what is thought of it by now."""
        watch = self._by_space.get(space.fingerprint)
        return Seen() if watch is None else watch.observe(features)


def _precedence(bundle: Bundle) -> tuple[bool, str]:
    """Who measured anew on people of their own knows best; of equals the first by name."""
    return MEASURED_ANEW not in bundle.manifest.provenance.data_digests, bundle.manifest.name


class SpaceWatch:
    """Watches one space; may be told of features by several threads."""

    def __init__(self, space: Space, reference: SpaceReference, on_change: Callable[[Space, Seen], None]) -> None:
        self.seen = Seen()
        self._space = space
        self._reference = reference
        self._on_change = on_change
        self._lock = threading.Lock()
        self._outliers: deque[bool] = deque(maxlen=RECENT)
        self._faces_WD = np.zeros((0, space.dimension), dtype=np.float32)
        self._whitened_WD = self._faces_WD

    def observe(self, features: FloatArray) -> Seen:
        """Look at unit features (n, D), and say what is thought of the space by now."""
        num = len(features)
        if num > MOST_AT_ONCE:
            features = features[np.linspace(0, num - 1, MOST_AT_ONCE).astype(np.int64)]
        whitened = self._reference.whitened(features)
        is_outlier = self._reference.is_outlier(whitened)
        with self._lock:
            self._outliers.extend(is_outlier.tolist())
            self._take(features, whitened)
            before, self.seen = self.seen, self._judge(self.seen, num)
            # Told under the lock, so that beginnings and ends are heard in their order.
            if (before.state == "suspected") != (self.seen.state == "suspected"):
                self._on_change(self._space, self.seen)
            return self.seen

    def _take(self, features: FloatArray, whitened: FloatArray) -> None:
        """Add them to the window. One that may be a face of it takes its place, so that people who come again count as they come
        now.
        """
        num_known = len(self._faces_WD)
        faces = np.concatenate([self._faces_WD, features])
        alike = faces @ features.T
        held = list(range(num_known))
        for place in range(len(features)):
            score = alike[held, place]
            if held and score.max() >= self._reference.same_face:
                held.pop(int(score.argmax()))
            held.append(num_known + place)
            del held[:-STREAM]
        self._faces_WD = faces[held]
        self._whitened_WD = np.concatenate([self._whitened_WD, whitened])[held]

    def _judge(self, before: Seen, num_new: int) -> Seen:
        num_outliers, num_faces = sum(self._outliers), len(self._faces_WD)
        share = num_outliers / len(self._outliers)
        score = self._reference.stream_score(self._whitened_WD)
        score = None if score is None else score / self._reference.stream_limit
        ease = CALM if before.state == "suspected" else 1.0
        reasons = []
        if num_outliers >= ease * FEWEST_OUTLIERS and share > ease * OUTLIER_SHARE:
            reasons.append(f"{share:.0%} of the last {len(self._outliers)} features are like hardly any of this space")
        if score is not None and score > ease:
            reasons.append(f"the last {num_faces} faces together are {score:.1f} times as far off as is usual at most")
        is_known = num_faces >= FEWEST_FACES or len(self._outliers) == RECENT
        state: State = "suspected" if reasons else "usual" if is_known else "unknown"
        return Seen(state, "; ".join(reasons), before.num_seen + num_new, share, num_faces, score)
