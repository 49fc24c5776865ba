"""How Weak-Strong GAN is trained; free of torch, so that a command line can name it."""

from dataclasses import dataclass

from training.trainers.rule import Rule


@dataclass(frozen=True, slots=True)
class Terms:
    """Weights of the losses beside the adversarial one, which is 1 or left out. Source: Weak-Strong GAN, Eq. 8 and 9."""

    classification: float
    """lambda: how much the generator is taught to be recognised."""
    noise: float
    """mu: how much generated features are to tell their noise; 0 leaves the encoder of noise out."""
    strong_classification: float
    """nu: how much the classifier learns from strong features."""
    is_adversarial: bool = True
    encoder_classification: float = 0.0
    """How much an encoder of both modalities is taught in G-phases to be recognised by its own features, of weak pictures and of
    photos that these are contrasted with, beside those generated.
    """
    contrast: float = 0.0
    """How much a strong feature is to be nearer to what was generated of its own person than of the others in the batch.

    Deviation: the paper has none; classification alone leaves features that are near to everybody's.
    """


@dataclass(frozen=True, slots=True)
class WSGANRecipe:
    """Losses, networks and optimisation."""

    terms: Terms
    num_hidden: int
    num_noise: int
    dropout: float
    """Of the generator's hidden layers."""
    starts_linear: bool
    """Whether the generator adds to a linear map; else it learns everything."""
    is_centred: bool
    """Whether it adds nothing where there is no noise."""
    scale: float
    """Of the cosines with class centres, before the softmax."""
    generator: Rule
    critic: Rule
    classifier: Rule
    noise_encoder: Rule
    encoder: Rule
    """Of pictures, where it is trained too."""
    epochs: int
    """Of all weak pictures, in G-phases; as many more as `fewest_steps` takes."""
    batch: int
    fewest_steps: int = 0
    """Of G-phases: of few pictures an epoch has hardly any."""
    num_critic: int = 5
    """D-phases for each G-phase."""
    clip: float = 0.01
    """Largest weight of the critic."""
    shares_encoder: bool = False
    """Whether the encoder that is trained is of both modalities, where pictures are there, so that galleries are enrolled anew;
    else strong features stay as they are.
    """
    contrasts_strong: bool = False
    """Whether what is generated is contrasted with photos of the same people as the encoder that is trained makes them, in
    G-phases, in place of class centres.
    """
    trains_on_strong: bool = False
    """Whether an encoder of both modalities is trained in D-phases too, on strong pictures."""
    classifier_learns_weak: bool = False
    """Whether G-phases train the classifier too, so that class centres follow what the encoder makes of weak pictures."""
    encoder_learns_all: bool = True
    """Whether the adversarial loss and that of noise teach the encoder too, or classification alone."""
    num_counterparts: int = 1
    """Strong features that are generated of each weak one in a G-phase."""
    is_mirrored: bool = False
    """Whether the encoder that is exported looks at each picture and its mirror image, which takes twice as long."""
    num_drawings: int = 0
    """That are made of photos for each G-phase, of anybody, beside the weak pictures of the batch, where these are sketches."""
    num_layers: int | None = None
    """Of the encoder that are trained, the last ones; None for all."""

    def num_epochs(self, steps_an_epoch: int) -> int:
        """Whole epochs."""
        return max(self.epochs, -(-self.fewest_steps // steps_an_epoch))

    @property
    def sees_strong_pictures(self) -> bool:
        """Whether an encoder is trained with strong pictures beside the weak ones."""
        return self.trains_on_strong or self.contrasts_strong or self.num_drawings > 0

    @property
    def is_varied(self) -> bool:
        """Whether other noise is to give other features."""
        return self.terms.noise > 0
