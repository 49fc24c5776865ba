"""Training Weak-Strong GAN, on features as they are or with the encoder of weak pictures; resumable to the same numbers.

Shapes: N weak pictures, M strong features, B batch, W weak and S strong dimension, Z noise, C classes.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn import functional

from models.features import FloatArray
from models.wsgan import Critic, Generator, NoiseEncoder
from training.errors import TrainingError
from training.losses.arcface import ArcFace
from training.losses.contrastive import contrastive_regression
from training.losses.noise_regression import noise_regression
from training.losses.wasserstein import critic_loss, generator_loss
from training.trainers.checkpoint import State
from training.trainers.encoder import TorchEncoder
from training.trainers.epochs import run_epochs
from training.trainers.optimisers import Optimisers
from training.trainers.picture_encoder import PictureEncoder
from training.trainers.schedule import rate
from training.trainers.weak_strong import WeakStrong
from training.trainers.wsgan_recipe import WSGANRecipe

VERSION = 3
"""Raised where a training comes to other numbers than before; checkpoints of another version are refused."""
LEAST_SHARES = (2e-3, 0.05)
"""Of the mean 1 - cos of photos: where that of features of one person, or of two, is less, a generator has collapsed."""
_CHECKED = 512
_ROWS_A_RUN = 4096


class TorchSampler:
    """A trained generator: weak features (N, W) and noise (N, Z) to unit strong features (N, S)."""

    def __init__(self, network: Generator) -> None:
        self.network = network.eval().cpu()
        self.num_noise = network.num_noise

    def __call__(self, weak_NW: FloatArray, noise_NZ: FloatArray) -> FloatArray:
        """One strong feature for each row."""
        blocks = [slice(start, start + _ROWS_A_RUN) for start in range(0, len(weak_NW), _ROWS_A_RUN)]
        with torch.inference_mode():
            made = [self.network(*(torch.from_numpy(side[rows]) for side in (weak_NW, noise_NZ))) for rows in blocks]
        return np.concatenate([block.numpy() for block in made])


@dataclass(frozen=True, slots=True)
class FittedSampler:
    """What a training comes to, and the hyperparameters of it."""

    sampler: TorchSampler
    encoder_at: Callable[[float], TorchEncoder] | None
    """Of weak pictures, where it was trained, so far on the way from what it was: its features are what the sampler takes."""
    hyperparameters: dict[str, JsonValue]


def fit_wsgan(data: WeakStrong, recipe: WSGANRecipe, start_WS: FloatArray) -> FittedSampler:
    """Train generator, critic, classifier and encoder of noise, and the encoder of pictures where there are any.

    `start_WS` is the linear map that a recipe may start from.

    Source: Weak-Strong GAN (AAAI 2019), End-to-End Training. Deviations: the classifier has unit centres, and begins with the
    means of its classes. Unless the recipe trains on strong pictures, D-phases take each picture's feature as it came out of its
    last G-phase, strong ones too where sketches are contrasted with them, and else as they came: to encode them again five times
    would take most of the training.

    Raises `TrainingError` where a loss is no number, the generator collapses, or pictures are missing.
    """
    run = _Run(data, recipe, torch.from_numpy(start_WS))
    run_epochs(run, data.seed, data.workplace, run.check_varied)
    encoder_at = partial(run.weak.encoder, is_mirrored=recipe.is_mirrored) if run.weak is not None else None
    return FittedSampler(TorchSampler(run.generator), encoder_at, asdict(recipe) | run.state.all_rates)


class _Run:
    """Networks and optimisers of one training, and its two phases."""

    def __init__(self, data: WeakStrong, recipe: WSGANRecipe, start_WS: Tensor) -> None:
        torch.manual_seed(data.seed)
        self.recipe, self.device = recipe, data.workplace.device
        self.weak_class_N = torch.from_numpy(data.weak_class_N).to(self.device)
        self.strong_class_M = torch.from_numpy(data.strong_class_M).to(self.device)
        class_M = self.strong_class_M.cpu()
        self._by_class_M = torch.argsort(class_M, stable=True)
        self._num_C = torch.bincount(class_M, minlength=data.num_classes)
        self._first_C = self._num_C.cumsum(0) - self._num_C
        self.batch = min(recipe.batch, len(data.weak_NW))
        self.steps_an_epoch = len(data.weak_NW) // self.batch
        self.num_epochs = recipe.num_epochs(self.steps_an_epoch)
        self.num_steps = self.steps_an_epoch * self.num_epochs
        num_weak, num_strong = data.weak_NW.shape[1], data.strong_MS.shape[1]
        sizes = (num_weak, num_strong, recipe.num_noise, recipe.num_hidden)
        self.generator = Generator(*sizes, dropout=recipe.dropout, is_centred=recipe.is_centred)
        if recipe.starts_linear:
            self.generator.start_from(start_WS)
        self.critic = Critic(num_strong, recipe.num_hidden)
        self.noise_encoder = NoiseEncoder(num_strong, recipe.num_noise, recipe.num_hidden)
        self.classifier = ArcFace(data.num_classes, num_strong, scale=recipe.scale)
        self.classifier.start_from(torch.from_numpy(data.strong_MS), torch.from_numpy(data.strong_class_M))
        self.kept, self.kept_strong = Kept(torch.from_numpy(data.weak_NW)), Kept(torch.from_numpy(data.strong_MS))
        self.weak = PictureEncoder(data.pictures, recipe.num_layers, self.device) if data.pictures is not None else None
        self.strong: PictureEncoder | None = None
        self.photos: PictureEncoder | None = None
        if self.weak is not None and recipe.sees_strong_pictures:
            if data.strong_pictures is None:
                raise TrainingError(
                    "an encoder of both modalities, or of drawings of photos, is trained with the pictures of both"
                )
            photos = self.weak.beside(data.strong_pictures)
            self.strong = photos if recipe.trains_on_strong else None
            self.photos = photos
        networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "critic": self.critic,
            "noise_encoder": self.noise_encoder,
            "classifier": self.classifier,
        }
        rules = {name: getattr(recipe, name) for name in networks}
        if self.weak is not None:
            networks["encoder"], rules["encoder"] = self.weak.network, recipe.encoder
        for network in networks.values():
            network.to(self.device).train()
        self.optimisers = Optimisers(networks, rules)
        plan = json.dumps([VERSION, asdict(recipe), data.seed, data.digest])
        random = torch.Generator().manual_seed(data.seed)
        everything = networks | {"kept": self.kept.to(self.device), "kept_strong": self.kept_strong.to(self.device)}
        self.state = State(plan, everything, self.optimisers.by_name, random, recipe.generator.learning_rate)

    def order(self) -> Tensor:
        """Weak pictures by row."""
        return torch.randperm(len(self.weak_class_N), generator=self.state.random)

    def step(self, rows_B: Tensor, number: int) -> float:
        """D-phases, then a G-phase on these rows; the loss of the latter."""
        self.optimisers.set_rate(rate(number / self.num_steps, "cosine", ()))
        for _ in range(self.recipe.num_critic):
            self.d_phase()
        return self.g_phase(rows_B)

    def d_phase(self) -> float:
        """Minimise J_D of Eq. 9 over critic, classifier and encoder of noise, and F_S where it is learned; what it was before."""
        terms = self.recipe.terms
        weak_B, strong_B = (self._draw(len(side)) for side in (self.weak_class_N, self.strong_class_M))
        real_BS, noise_BZ = self._strong_features(strong_B), self._noise(len(weak_B))
        with torch.no_grad():
            made_BS = self.generator(self._weak_features(weak_B), noise_BZ)
        trained = ["classifier"] if self.strong is None else ["classifier", "encoder"]
        loss = terms.strong_classification * self.classifier(
            real_BS, self.strong_class_M[strong_B.to(self.device)], 0.0
        )
        if terms.is_adversarial:
            trained.append("critic")
            loss = loss + critic_loss(self.critic(made_BS), self.critic(real_BS))
        if terms.noise:
            trained.append("noise_encoder")
            loss = loss + terms.noise * noise_regression(self.noise_encoder(made_BS), noise_BZ)
        self.optimisers.step(trained, loss)
        self.critic.clip(self.recipe.clip)
        return float(loss.detach())

    def g_phase(self, rows_B: Tensor) -> float:
        """Minimise J_G of Eq. 8 over the generator and the encoder of weak pictures, and class centres where they follow it; what
        it was before.
        """
        recipe, terms, num = self.recipe, self.recipe.terms, self.recipe.num_counterparts
        weak_BW, class_B, own_BS = self._seen(rows_B)
        noise_BZ = self._noise(num * len(weak_BW))
        made_BS = self.generator(weak_BW.repeat(num, 1), noise_BZ)
        loss = terms.classification * self.classifier(made_BS, class_B.repeat(num), 0.0)
        if terms.encoder_classification and self.weak is not None:
            sides = [weak_BW, own_BS] if recipe.contrasts_strong else [weak_BW]
            own_losses = [self.classifier(side, class_B, 0.0) for side in sides]
            loss = loss + terms.encoder_classification * torch.stack(own_losses).sum()
        if terms.contrast:
            loss = loss + terms.contrast * self._contrast(made_BS, own_BS.repeat(num, 1), class_B.repeat(num))
        if self.weak is not None and not recipe.encoder_learns_all:
            made_BS = self.generator(weak_BW.detach().repeat(num, 1), noise_BZ)
        if terms.is_adversarial:
            loss = loss + generator_loss(self.critic(made_BS))
        if terms.noise:
            loss = loss + terms.noise * noise_regression(self.noise_encoder(made_BS), noise_BZ)
        trained = ["generator"] if self.weak is None else ["generator", "encoder"]
        if recipe.classifier_learns_weak:
            trained.append("classifier")
        self.optimisers.step(trained, loss)
        return float(loss.detach())

    def _seen(self, rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weak features of these rows and of drawings, as they are now, who they are of, and with what they are contrasted."""
        recipe, random, class_B = self.recipe, self.state.random, self.weak_class_N[rows_B]
        if self.weak is None:
            return self.kept.features[rows_B], class_B, self._centres(class_B)
        photo_B = torch.randint(0, len(self.strong_class_M), (recipe.num_drawings,), generator=random)
        lots = [self.weak.pictures(rows_B, random)]
        if self.photos is not None and recipe.num_drawings:
            lots.append(self.photos.drawings(photo_B, random))
            class_B = torch.cat([class_B, self.strong_class_M[photo_B.to(self.device)]])
        if self.photos is not None and recipe.contrasts_strong:
            own_B = self._some_of(class_B)
            lots.append(self.photos.pictures(own_B, random))
            *weak, own_BS = self.weak.together(lots)
            self.kept_strong.put(own_B, own_BS.detach())
        else:
            weak, own_BS = self.weak.together(lots), self._centres(class_B)
        weak_BW = torch.cat(weak)
        self.kept.put(rows_B, weak_BW[: len(rows_B)].detach())
        return weak_BW, class_B, own_BS

    def _centres(self, class_B: Tensor) -> Tensor:
        return functional.normalize(self.classifier.centre_CD[class_B], dim=-1)

    def _some_of(self, class_B: Tensor) -> Tensor:
        """Row numbers of strong pictures, for each of these people one at random."""
        num_B, first_B = (of_C[class_B.cpu()] for of_C in (self._num_C, self._first_C))
        place_B = (torch.rand(len(class_B), generator=self.state.random, dtype=torch.float64) * num_B).long()
        return self._by_class_M[first_B + place_B]

    @torch.no_grad()
    def check_varied(self, epoch: int) -> None:
        """Raises `TrainingError` where everybody is given the same feature, or one person is where noise was to tell.

        In the second half of the training: at first what noise does is next to nothing.
        """
        if 2 * (epoch + 1) < self.num_epochs:
            return
        self.generator.eval()
        # Of a generator of its own: what is looked at changes nothing.
        random = torch.Generator().manual_seed(epoch)
        weak_BW = self.kept.features[torch.randperm(len(self.kept.features), generator=random)[:_CHECKED]]
        one_BS, other_BS = (
            self.generator(weak_BW, torch.randn(len(weak_BW), self.recipe.num_noise, generator=random).to(self.device))
            for _ in range(2)
        )
        self.generator.train()
        real_BS = self.kept_strong.features[torch.randperm(len(self.strong_class_M), generator=random)[:_CHECKED]]
        within, across, real = (
            1 - float(cosine)
            for cosine in (
                functional.cosine_similarity(one_BS, other_BS).mean(),
                (one_BS @ other_BS.T).mean(),
                (real_BS @ real_BS.T).mean(),
            )
        )
        is_one_for_all = across < LEAST_SHARES[1] * real
        same = "everybody" if is_one_for_all else "a person, whatever the noise,"
        if is_one_for_all or (self.recipe.is_varied and within < LEAST_SHARES[0] * real):
            raise TrainingError(
                f"the generator collapsed after {epoch + 1} epochs: {same} is given one feature (1 - cosine of two is "
                f"{within:.1e} of one person, {across:.1e} of two, {real:.1e} of two photos); give the noise more weight, or "
                "bring more people"
            )

    def _contrast(self, made_BS: Tensor, own_BS: Tensor, class_B: Tensor) -> Tensor:
        """Of strong features or class centres with what was generated of the same people and of the others in the batch."""
        return contrastive_regression(made_BS, own_BS, class_B, temperature=1 / self.recipe.scale)

    def _strong_features(self, rows_B: Tensor) -> Tensor:
        """As they came or were last encoded in a G-phase, or by the encoder that is trained, with gradients."""
        return self.kept_strong.features[rows_B] if self.strong is None else self.strong(rows_B, self.state.random)

    def _weak_features(self, rows_B: Tensor) -> Tensor:
        """As they were when they were last encoded, or where strong pictures are encoded too as they are now."""
        if self.weak is None or self.strong is None:
            return self.kept.features[rows_B]
        return self.weak(rows_B, self.state.random)

    def _draw(self, num: int) -> Tensor:
        """Row numbers, on the CPU as pictures are."""
        return torch.randint(0, num, (self.recipe.batch,), generator=self.state.random)

    def _noise(self, num: int) -> Tensor:
        return torch.randn(num, self.recipe.num_noise, generator=self.state.random).to(self.device)


class Kept(nn.Module):
    """Of every picture its feature as it was when it was last encoded, (N, D)."""

    def __init__(self, feature_ND: Tensor) -> None:
        super().__init__()
        self.register_buffer("feature_ND", feature_ND.clone())

    @property
    def features(self) -> Tensor:
        """All of them."""
        return self.get_buffer("feature_ND")

    def put(self, rows_B: Tensor, feature_BD: Tensor) -> None:
        """In place of those before."""
        self.features[rows_B] = feature_BD
