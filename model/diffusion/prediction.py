"""What a network predicts, converted: noise eps, velocity v, data x_0.

With x = alpha x_0 + sigma eps and alpha^2 + sigma^2 = 1, v = alpha eps - sigma x_0 (Salimans &
Ho 2022, arXiv:2202.00512). Arrays are (B, ...), `alpha` and `sigma` are (B,), rounded to the dtype
of `x`, which is that of the result. Nothing branches on a value.
"""

from torch import Tensor

from model.diffusion.broadcast import per_sample


def data_from_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return x_0 = (x - sigma eps) / alpha; alpha must not be 0."""
    return (x - per_sample(sigma, x) * noise) / per_sample(alpha, x)


def noise_from_velocity(x: Tensor, velocity: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return eps = sigma x + alpha v."""
    return per_sample(sigma, x) * x + per_sample(alpha, x) * velocity
