"""The two kinds of block: residual mixing over the grid, then a residual MLP.

Every layer normalises its own input. A block's second argument is what its norms read: diffusion
time tau (B,) in a plain block, the condition (B, >= D) of AdaLN-Zero in a modulated one.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.adaln import ModulatedNorm, Modulation, gated


class Attention(nn.Module):
    """Multi-head self-attention; the released form has no bias in qkv."""

    def __init__(self, dim: int, heads: int, norm: nn.Module, *, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, condition: Tensor | Modulation) -> Tensor:
        """Attend over tokens: x (B, N, D), what the norm reads -> (B, N, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm(x, condition)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class GatedMLP(nn.Module):
    """GEGLU (arXiv:2002.05202): out(gelu(gate u) * value u)."""

    def __init__(self, dim: int, hidden: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.gate = nn.Linear(dim, hidden)
        self.value = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, condition: Tensor | Modulation) -> Tensor:
        """Mix channels: x (B, ..., D), what the norm reads -> (B, ..., D)."""
        u = self.norm(x, condition)
        out: Tensor = self.out(F.gelu(self.gate(u)).mul_(self.value(u)))
        return out


class PlainMLP(nn.Module):
    """One hidden layer: out(gelu(inner u))."""

    def __init__(
        self, dim: int, hidden: int, norm: nn.Module, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.norm = norm
        self.inner = nn.Linear(dim, hidden)
        self.activation = activation or nn.GELU()
        self.out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, condition: Tensor | Modulation) -> Tensor:
        """Mix channels: x (B, ..., D), what the norm reads -> (B, ..., D)."""
        u = self.norm(x, condition)
        out: Tensor = self.out(self.activation(self.inner(u)))
        return out


def depthwise(dim: int, kernel: int) -> nn.Conv2d:
    """A convolution of each channel by itself that keeps the grid; `kernel` is odd."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


def _over_grid(convolution: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to x (B, H, W, D), channels last."""
    out: Tensor = convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out


class TransformerBlock(nn.Module):
    """Attention over tokens, then the MLP."""

    def __init__(self, attention: Attention, mlp: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = mlp

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, N, D) at times tau (B,) to the same shape."""
        x = x + self.attention(x, tau)
        out: Tensor = x + self.mlp(x, tau)
        return out


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution without a norm of its own, then the MLP; two residuals, not one."""

    def __init__(self, depthwise: nn.Conv2d, mlp: nn.Module) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.mlp = mlp

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, H, W, D), channels last, at times tau (B,) to the same shape."""
        x = x + _over_grid(self.depthwise, x)
        out: Tensor = x + self.mlp(x, tau)
        return out


class ModulatedTransformerBlock(nn.Module):
    """Attention, then the MLP, each modulated; `modulation` ends in an `AdaLNZero`."""

    def __init__(self, attention: Attention, mlp: nn.Module, modulation: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = mlp
        self.modulation = modulation

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x (B, N, D) under a condition (B, >= D) to the same shape."""
        first, second = self.modulation(condition)
        x = gated(x, self.attention(x, first), first)
        return gated(x, self.mlp(x, second), second)


class ModulatedConvNeXtBlock(nn.Module):
    """Depthwise convolution, then the MLP, each modulated; `norm` is the convolution's own."""

    def __init__(
        self, norm: ModulatedNorm, depthwise: nn.Conv2d, mlp: nn.Module, modulation: nn.Module
    ) -> None:
        super().__init__()
        self.norm = norm
        self.depthwise = depthwise
        self.mlp = mlp
        self.modulation = modulation

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x (B, H, W, D), channels last, under a condition (B, >= D) to the same shape."""
        first, second = self.modulation(condition)
        x = gated(x, _over_grid(self.depthwise, self.norm(x, first)), first)
        return gated(x, self.mlp(x, second), second)
