"""Small random changes of pictures that leave what they show as it is."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE = math.radians(10)
MAX_SHIFT = 3 / 32  # of the side: 3 pixels at 32
SCALES = (0.85, 1.15)
GAINS = (0.85, 1.15)  # of each colour channel
OFFSETS = (-0.1, 0.1)
MAX_NOISE = 0.08  # standard deviation
BLUR = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move, turn, resize, tint, blur and roughen each picture by amounts of its own.

    There is no mirroring: it would change what some pictures show.

    Args:
        images: (B, 3, S, S) in [-1, 1] on a white ground.
        generator: source of every amount.

    Returns:
        (B, 3, S, S) in [-1, 1]; what moves in from outside is white.
    """

    def uniform(least: float, most: float, *shape: int) -> Tensor:
        return least + (most - least) * torch.rand(len(images), *shape, generator=generator)

    x = _moved(
        images,
        angle=uniform(-MAX_ANGLE, MAX_ANGLE),
        scale=uniform(*SCALES),
        shift=uniform(-2 * MAX_SHIFT, 2 * MAX_SHIFT, 2),  # the side is 2 long in affine_grid
    )
    x = x * uniform(*GAINS, 3, 1, 1) + uniform(*OFFSETS, 1, 1, 1)
    x = x.lerp(_blurred(x), uniform(0, 1, 1, 1, 1))
    noise = torch.randn(x.shape, generator=generator)
    return (x + uniform(0, MAX_NOISE, 1, 1, 1) * noise).clamp(-1, 1)


def _moved(images: Tensor, *, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn (B,), resize (B,) and shift (B, 2) pictures about their centres, white outside."""
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack((cos, -sin, shift[:, 0], sin, cos, shift[:, 1]), dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return 1 + F.grid_sample(images - 1, grid, align_corners=False)


def _blurred(images: Tensor) -> Tensor:
    """Average each 3 x 3 neighbourhood with binomial weights."""
    channels = images.shape[1]
    kernel = (torch.tensor(BLUR) / 16).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)
