"""Attention with heads as wide as TensorRT's kernels want them.

No kernel of tensorrt_rtx 1.7 takes heads narrower than 9 channels. An attention that is taken apart
instead is slower, and the norm before it is split. So narrow heads get channels of zeros, which
change neither a product of queries and keys nor what is mixed of values: they come of weights with
rows of zeros, which a compiler makes once, and the weights behind have columns of zeros for them.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.adaln import Modulation
from model.layers.blocks import Attention

LEAST_WIDTH = 9  # of the heads that there is a kernel for
WIDTH = 16  # of those that narrower ones become


def is_narrow(attention: Attention) -> bool:
    """Whether the heads of an attention are too narrow for a kernel."""
    return attention.out.in_features // attention.heads < LEAST_WIDTH


class WideHeads(nn.Module):
    """An `Attention` of narrow heads, with zeros in them."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.norm = attention.norm
        self.qkv = attention.qkv
        self.out = attention.out

    def forward(self, x: Tensor, condition: Tensor | Modulation) -> Tensor:
        """Attend over tokens: x (B, N, D), what the norm reads -> (B, N, D)."""
        width = self.out.in_features // self.heads
        ours, channels = (3 * self.heads, width), (0, WIDTH - width)
        given: Tensor | None = self.qkv.bias  # of any type to PyTorch
        weight = F.pad(self.qkv.weight.view(*ours, -1), (0, 0, *channels)).flatten(0, 1)
        bias = None if given is None else F.pad(given.view(ours), channels).flatten()
        rows = F.linear(self.norm(x, condition).to(weight.dtype), weight, bias)
        q, k, v = rows.view(*x.shape[:2], 3, self.heads, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=width**-0.5)
        back = F.pad(self.out.weight.view(-1, self.heads, width), channels).flatten(1)
        return F.linear(mixed.transpose(1, 2).flatten(2).to(back.dtype), back, self.out.bias)
