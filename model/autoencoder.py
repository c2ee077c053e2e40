"""Between pixels and the tensor that is denoised."""

from torch import Tensor
from torch.nn import functional as F

from model.specs.process import CodecSpec


class PixelCodec:
    """Images in [-1, 1] with each factor x factor cell folded into channels: lossless, orthogonal.

    With factor 2 a 32-pixel image becomes a (12, 16, 16) tensor: DiMR's two branches then cost what
    they cost on a 16 x 16 latent, and white noise stays white.
    """

    def __init__(self, spec: CodecSpec) -> None:
        self._factor = spec.factor

    def encode(self, images: Tensor) -> Tensor:
        """Fold images (B, 3, S, S) in [-1, 1] to (B, 3 f^2, S/f, S/f)."""
        return F.pixel_unshuffle(images, self._factor)

    def decode(self, x: Tensor) -> Tensor:
        """Unfold (B, 3 f^2, S/f, S/f) to images (B, 3, S, S), clamped to [-1, 1]."""
        return F.pixel_shuffle(x, self._factor).clamp(-1, 1)
