"""How a probe is asked for as several features: what a request may say of it, and what became of that."""

from dataclasses import dataclass

from models.bundle import Sampling
from service.entities import Density
from service.errors import BatchTooLargeError, InvalidInputError


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

    def drawn(self, sampling: Sampling, draw: Draw, num_probes: int) -> Drawn:
        """As it is going to be asked. Raises `InvalidInputError`, `BatchTooLargeError`."""
        num_samples = draw.num_samples or min(sampling.num_samples, self.max_samples)
        if num_samples > self.max_samples:
            raise InvalidInputError(f"samples may be at most {self.max_samples}")
        if num_samples * num_probes > self.max_rows:
            raise BatchTooLargeError(f"probes times samples may be at most {self.max_rows}; send fewer at a time")
        return Drawn(num_samples, draw.seed or 0, sampling.sigma, num_samples == sampling.num_samples)
