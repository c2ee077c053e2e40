"""The judge of generated pictures: a small classifier trained on the model's own training images.

Its verdicts mean something only beside its verdicts on real pictures, and its embedding only
beside itself: the hash of its weights says which judge a report speaks of.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from pydantic import Field, PositiveInt
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.order import batch_indices, generator_for
from model.evaluation.augmentation import augment
from model.specs.base import Spec

EMBEDDING = 64
MAX_STEPS = 100_000  # of training, for command lines
_WIDTHS = (48, 96, 96, 128, 128)
_STRIDES = (1, 2, 1, 2, 1)
_AUGMENTATIONS = 1  # stream of the seed; stream 0 is the order of examples


class ClassifierSpec(Spec):
    """How a judge is trained; with its data this determines every weight on one machine."""

    steps: PositiveInt = 300
    batch: PositiveInt = 64
    seed: int = Field(default=0, ge=0)
    rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)


class Judgement(NamedTuple):
    """What a judge says of B pictures: logits (B, classes) and embedding (B, 64)."""

    logits: Tensor
    embedding: Tensor


class Classifier(nn.Module):
    """Five convolutions over 2 x 2 cells, a mean over places, and a normalised embedding.

    Every component of an embedding is of order 1: its mean square over the 64 is 1.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        inputs = 12
        for width, stride in zip(_WIDTHS, _STRIDES, strict=True):
            layers += [
                nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False),
                nn.GroupNorm(8, width),
                nn.GELU(),
            ]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.embed = nn.Linear(inputs, EMBEDDING)
        self.norm = nn.LayerNorm(EMBEDDING, elementwise_affine=False)
        self.head = nn.Linear(EMBEDDING, classes)

    def forward(self, images: Tensor) -> Judgement:
        """Judge images (B, 3, S, S) in [-1, 1], S even."""
        embedding = self.norm(self.embed(self.body(images).mean(dim=(2, 3))))
        return Judgement(self.head(embedding), embedding)


def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    spec: ClassifierSpec,
    on_step: Callable[[int], None],
) -> Classifier:
    """Train a judge on augmented pictures; draws on nothing but its arguments.

    Args:
        images: (N, 3, S, S) in [-1, 1].
        labels: (N,) int64 in [0, classes).
        classes: number of classes.
        spec: how to train.
        on_step: called with the number of steps taken after each of them.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(spec.seed)
        classifier = Classifier(classes)
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=spec.rate, weight_decay=spec.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, spec.rate, spec.steps)
    for step in range(spec.steps):
        chosen = batch_indices(step, spec.batch, len(images), spec.seed)
        generator = generator_for(spec.seed, _AUGMENTATIONS, step)
        logits = classifier(augment(images[chosen], generator)).logits
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=spec.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
        on_step(step + 1)
    return classifier.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def judge(classifier: Classifier, images: Tensor, *, batch: int = 256) -> Judgement:
    """Judge any number of images (N, 3, S, S) in [-1, 1], `batch` at a time."""
    parts = [classifier(part) for part in torch.split(images, batch)]
    return Judgement(
        torch.cat([part.logits for part in parts]), torch.cat([part.embedding for part in parts])
    )


def weights_sha256(classifier: Classifier) -> str:
    """Hash of all weights with their names and shapes."""
    return hashlib.sha256(save(classifier.state_dict())).hexdigest()
