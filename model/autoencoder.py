"""Between pixels and the tensor that is denoised: pixels folded losslessly, or latents."""

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from model.specs.process import LatentsSpec, PixelsSpec

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CONFIG_NAME, WEIGHTS_NAME = "config.json", "diffusion_pytorch_model.safetensors"  # of diffusers
LEAST_LOGVAR, MOST_LOGVAR = -30.0, 20.0  # of Stable Diffusion's autoencoder


class AutoencoderRefused(ValueError):
    """An autoencoder cannot be loaded or does not fit the latents; the message says why."""


class Codec(Protocol):
    """What those who sample need: bounds on data predictions, and images from the last one."""

    def threshold(self, data: Tensor) -> Tensor:
        """The data prediction (B, C, H, W) to use instead of this one."""

    def decode(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] from what was denoised, each independent of the others."""

    def to(self, device: torch.device) -> Self:
        """The codec itself, with what it computes by moved to `device`."""


class PixelCodec:
    """Images in [-1, 1] with each factor x factor cell folded into channels: lossless, orthogonal.

    With factor 2 a 32-pixel image becomes a (12, 16, 16) tensor: DiMR's two branches then cost what
    they cost on a 16 x 16 latent, and white noise stays white.
    """

    def __init__(self, spec: PixelsSpec) -> None:
        self._factor = spec.factor

    def encode(self, images: Tensor) -> Tensor:
        """Fold images (B, 3, S, S) in [-1, 1] to (B, 3 f^2, S/f, S/f)."""
        return F.pixel_unshuffle(images, self._factor)

    def threshold(self, data: Tensor) -> Tensor:
        """Clamp to [-1, 1], the range of pixels (Imagen, arXiv:2205.11487, section 2.3)."""
        return data.clamp(-1, 1)

    def decode(self, x: Tensor) -> Tensor:
        """Unfold (B, 3 f^2, S/f, S/f) to images (B, 3, S, S), clamped to [-1, 1]."""
        return F.pixel_shuffle(x, self._factor).clamp(-1, 1)

    def to(self, device: torch.device) -> Self:
        """The codec itself: it holds no tensor."""
        return self


class LatentCodec:
    """Latents of Stable Diffusion's KL autoencoder (arXiv:2112.10752), scaled to unit variance.

    An image's latent is a draw from a normal distribution whose moments the encoder computes; see
    `draw_latent`.
    """

    def __init__(self, autoencoder: "AutoencoderKL", spec: LatentsSpec) -> None:
        self._autoencoder = autoencoder
        self._scale = spec.scale

    @torch.no_grad()
    def moments(self, images: Tensor) -> Tensor:
        """Encode images (B, 3, S, S) in [-1, 1].

        Returns:
            (B, 2 C, S/f, S/f) float32: C means, then C logarithms of variances, of the unscaled
            latent.
        """
        moments: Tensor = self._autoencoder.encode(images).latent_dist.parameters
        return moments

    def threshold(self, data: Tensor) -> Tensor:
        """The prediction unchanged: latents have no bounds."""
        return data

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """Decode latents (B, C, H, W) to images (B, 3, f H, f W), clamped to [-1, 1].

        One at a time: kernels may round differently for different row counts, and an image must not
        depend on its neighbours.
        """
        images = [self._autoencoder.decode(z[None]).sample for z in x / self._scale]
        return torch.cat(images).clamp(-1, 1)

    def to(self, device: torch.device) -> Self:
        """The codec itself, with the autoencoder moved to `device`."""
        self._autoencoder.to(device)
        return self

    def files(self) -> dict[str, bytes]:
        """The autoencoder as config.json and weights in the format of diffusers, by file name."""
        config = json.loads(self._autoencoder.to_json_string())
        config.pop("_name_or_path", None)  # where it came from: a path of this machine
        weights = {name: v.contiguous() for name, v in self._autoencoder.state_dict().items()}
        return {
            CONFIG_NAME: (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
            WEIGHTS_NAME: save(weights, metadata={"format": "pt"}),
        }


def load_autoencoder(source: str, spec: LatentsSpec) -> LatentCodec:
    """Load a KL autoencoder for latents of this spec, in float32 and evaluation mode.

    Args:
        source: a local folder in the format of diffusers, or a repository of the Hugging Face Hub
            such as "stabilityai/sd-vae-ft-ema"; a folder that exists is never looked up there.
        spec: its channels and factor must be the autoencoder's.

    Raises:
        AutoencoderRefused: diffusers is not installed, there is no such autoencoder, its files are
            damaged, or its latents have other sizes.
    """
    if source == "" or not (Path(source).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", source)):
        msg = (
            f"autoencoder: got {source!r}; allowed: a folder that exists, with config.json and "
            f"{WEIGHTS_NAME}, or a repository of the Hugging Face Hub, OWNER/NAME"
        )
        raise AutoencoderRefused(msg)
    autoencoder = _from_diffusers(source)
    config = autoencoder.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    for name, found, wanted in (
        ("channels", config.latent_channels, spec.channels),
        ("factor", factor, spec.factor),
    ):
        if found != wanted:
            msg = f"autoencoder {source!r}: {name} of its latents: got {found}; allowed: {wanted}"
            raise AutoencoderRefused(msg)
    return LatentCodec(autoencoder.float().eval().requires_grad_(requires_grad=False), spec)


def _from_diffusers(source: str) -> "AutoencoderKL":
    """A KL autoencoder with every tensor taken from the source."""
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        msg = "the autoencoder needs diffusers: pip install 'dimr-serve[latents]'"
        raise AutoencoderRefused(msg) from error
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # the error below says it all
    try:
        autoencoder, found = AutoencoderKL.from_pretrained(
            source,
            local_files_only=Path(source).is_dir(),
            use_safetensors=True,
            low_cpu_mem_usage=False,  # True needs another package
            output_loading_info=True,
        )
    except (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        msg = f"autoencoder {source!r} cannot be loaded: {said:.400}"
        raise AutoencoderRefused(msg) from error
    finally:
        logger.setLevel(level)
    if found["missing_keys"]:
        named = ", ".join(sorted(found["missing_keys"])[:4])
        msg = f"autoencoder {source!r}: {len(found['missing_keys'])} tensors are missing: {named}"
        raise AutoencoderRefused(msg)
    return autoencoder


def draw_latent(moments: Tensor, noise: Tensor, scale: float) -> Tensor:
    """Draw the latent z = scale (mean + exp(logvar / 2) noise).

    Args:
        moments: (..., 2 C, H, W): means, then logarithms of variances, which are clamped to
            [-30, 20] as Stable Diffusion does.
        noise: (..., C, H, W), standard normal.
        scale: see `LatentsSpec.scale`.
    """
    mean, logvar = moments.chunk(2, dim=-3)
    deviation = (logvar.clamp(LEAST_LOGVAR, MOST_LOGVAR) / 2).exp()
    return scale * (mean + deviation * noise)
