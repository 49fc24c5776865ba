"""`/identify` with `mode: closed-set` on the wire: whom, of those that a classifier knows, a picture is of."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from models.calibration import PHOTO
from service.api.schemas.probes import STRICT, GalleryName, Image, Landmarks, Modality, decode_base64
from service.inference.engine import Picture
from service.usecases.closed_set import Recognised

CLOSED_SET = "closed-set"


class ClosedSetProbe(BaseModel):
    """A picture of a face, and what it is: each classifier is for one modality."""

    model_config = STRICT

    image: Image
    landmarks: Landmarks | None = None
    modality: Modality = PHOTO

    def picture(self, pointer: str) -> Picture:
        """The picture. Raises `Problem` naming `pointer` where base64 is broken."""
        landmarks = [(x, y) for x, y in self.landmarks] if self.landmarks is not None else None
        return Picture(decode_base64(self.image, f"{pointer}/image"), landmarks)


class ClosedSetRequest(BaseModel):
    """One picture, asked about among the people whom a classifier knows: there is no gallery, and no answer that says nobody."""

    model_config = STRICT

    mode: Literal["closed-set"]
    probe: ClosedSetProbe
    top_k: Annotated[int, Field(ge=1)] = 5
    bundle: Annotated[
        GalleryName | None,
        Field(description="the classifier, where several are for the modality", examples=["faces-caricature"]),
    ] = None


class KnownPerson(BaseModel):
    """One of the people whom the classifier knows, by rank."""

    rank: int
    subject: str
    probability: float
    """Among these people: a stranger's picture is somebody's too."""


class ClosedSetResponse(BaseModel):
    """The most probable of the people whom a classifier knows."""

    mode: Literal["closed-set"]
    bundle: str
    digest: str
    """Of the bundle, which names this exact classifier."""
    num_people: int
    """Whom it knows; their probabilities sum to one."""
    candidates: list[KnownPerson]

    @classmethod
    def of(cls, found: Recognised) -> Self:
        """The view."""
        return cls(
            mode="closed-set",
            bundle=found.bundle,
            digest=found.digest,
            num_people=found.num_people,
            candidates=[
                KnownPerson(rank=rank, subject=subject, probability=probability)
                for rank, (subject, probability) in enumerate(found.people, start=1)
            ],
        )
