"""How a probe is asked for as several features: what a request may say of it, and what became of that."""

from dataclasses import dataclass

from models.bundle import Sampling
from service.entities import Density
from service.errors import BatchTooLargeError, InvalidInputError

_MAX_NUMBERS = 1 << 26
"""In rows of features and noise of one request: 256 MiB."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a request says; None where it leaves that to the sampler."""

    num_samples: int | None = None
    seed: int | None = None

    @property
    def is_asked(self) -> bool:
        """Whether it says anything."""
        return self.num_samples is not None or self.seed is not None


@dataclass(frozen=True, slots=True)
class Drawn:
    """As what the probes were asked: the same numbers give the same answer again."""

    num_samples: int
    seed: int
    sigma: float
    is_measured: bool
    """Whether the sampler's thresholds were measured with so many samples."""

    @property
    def density(self) -> Density:
        """How the samples are compared."""
        return Density(self.num_samples, self.sigma)


@dataclass(frozen=True, slots=True)
class SampleLimits:
    """What one request may ask for."""

    max_samples: int = 64
    max_rows: int = 65_536
    """Of all its probes together."""

    def drawn(self, sampling: Sampling, draw: Draw, num_probes: int, dimension: int) -> Drawn:
        """As it is going to be asked, of probes of a dimension. Raises `InvalidInputError`, `BatchTooLargeError`."""
        num_samples = draw.num_samples or sampling.num_samples
        if num_samples > self.max_samples:
            raise InvalidInputError(f"samples may be at most {self.max_samples}")
        most = min(self.max_rows, _MAX_NUMBERS // (dimension + sampling.num_noise))
        if num_samples * num_probes > most:
            raise BatchTooLargeError(
                f"probes times samples may be at most {most}; send fewer probes at a time, or ask for fewer samples"
            )
        return Drawn(num_samples, draw.seed or 0, sampling.sigma, num_samples == sampling.num_samples)
