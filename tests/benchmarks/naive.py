"""DiMR as one writes it down the first time, from its formulas: what the network benchmark beats.

Eager, nothing fused: norms and attention are spelled out, each time-dependent parameter is
evaluated where it is used, memory lies as the operations leave it. Parameters are named as ours, so
each network loads the other's weights; one test holds it to the authors' outputs. It knows their
released form only (arXiv:2406.09416).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.specs.networks import (
    AnyStage,
    Cascade,
    ConvNeXtStage,
    DiMRSpec,
    Features,
    Mlp,
    Norm,
    TimeInput,
    TransformerStage,
)

RELEASED = {
    "norm": Norm.TD_RMSNORM,
    "mlp": Mlp.GEGLU,
    "time": TimeInput.NORM,
    "cascade": Cascade.ADD,
    "features": Features.ALL,
}


class NotReleased(ValueError):
    """A spec asks for what the released networks do not have."""


class Interpolated(nn.Module):
    """A parameter that depends on time: s first + (1 - s) second, s = sigmoid(a tau + b)."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((dim,), start))
        self.second = nn.Parameter(torch.full((dim,), start))
        self.slope = nn.Parameter(torch.zeros(dim))
        self.offset = nn.Parameter(torch.zeros(dim))

    def forward(self, tau: Tensor, x: Tensor) -> Tensor:
        """Evaluate at tau (B,), in a shape that broadcasts over x (B, ..., dim)."""
        s = torch.sigmoid(tau[:, None] * (1 + self.slope) + self.offset)
        value = s * self.first + (1 - s) * self.second
        return value.reshape(len(tau), *[1] * (x.ndim - 2), -1)


class RMS(nn.Module):
    """TD-RMSNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = Interpolated(dim, 1.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., dim)."""
        rms = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True))
        out: Tensor = self.scale(tau, x) * x / (rms + 1e-8)
        return out


class Layer(nn.Module):
    """TD-LayerNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = Interpolated(dim, 1.0)
        self.bias = Interpolated(dim, 0.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., dim)."""
        mean = x.mean(dim=-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
        unit = (x - mean) / torch.sqrt(variance + 1e-5)
        out: Tensor = self.weight(tau, x) * unit + self.bias(tau, x)
        return out


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head width)) v, head by head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMS(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Attend among x (B, N, D)."""
        b, n, d = x.shape
        qkv = self.qkv(self.norm(x, tau)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(d // self.heads), dim=-1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).reshape(b, n, d))
        return out


class MLP(nn.Module):
    """out(gelu(gate u) * value u) with u = norm(x)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = RMS(dim)
        self.gate = nn.Linear(dim, hidden)
        self.value = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Mix the channels of x (B, ..., D)."""
        u = self.norm(x, tau)
        out: Tensor = self.out(F.gelu(self.gate(u)) * self.value(u))
        return out


class TransformerBlock(nn.Module):
    """Attention, then the MLP."""

    def __init__(self, stage: TransformerStage) -> None:
        super().__init__()
        self.attention = Attention(stage.dim, stage.heads)
        self.mlp = MLP(stage.dim, stage.hidden)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, N, D) to its like."""
        x = x + self.attention(x, tau)
        out: Tensor = x + self.mlp(x, tau)
        return out


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then the MLP."""

    def __init__(self, stage: ConvNeXtStage) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            stage.dim, stage.dim, stage.kernel, padding=stage.kernel // 2, groups=stage.dim
        )
        self.mlp = MLP(stage.dim, stage.hidden)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, H, W, D) to its like."""
        x = x + self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = x + self.mlp(x, tau)
        return out


class Trunk(nn.Module):
    """In-blocks, a middle block, and out-blocks that each read an in-block's output."""

    def __init__(self, stage: AnyStage) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(stage) for _ in range(stage.blocks))
        self.skips = nn.ModuleList(
            nn.Linear(2 * stage.dim, stage.dim) for _ in range(stage.blocks // 2)
        )

    def forward(self, x: Tensor, tau: Tensor) -> list[Tensor]:
        """Return x and the output of each block."""
        count = len(self.skips)
        features, stack = [x], []
        for block in self.blocks[:count]:
            x = block(x, tau)
            features.append(x)
            stack.append(x)
        x = self.blocks[count](x, tau)
        features.append(x)
        for skip, block in zip(self.skips, self.blocks[count + 1 :], strict=True):
            x = block(skip(torch.cat([x, stack.pop()], dim=-1)), tau)
            features.append(x)
        return features


def _block(stage: AnyStage) -> nn.Module:
    match stage:
        case TransformerStage():
            return TransformerBlock(stage)
        case ConvNeXtStage():
            return ConvNeXtBlock(stage)


class Patches(nn.Module):
    """The image, pooled and cut into patches."""

    def __init__(self, stage: AnyStage, channels: int) -> None:
        super().__init__()
        self.pool = stage.pool
        self.embed = nn.Conv2d(channels, stage.dim, stage.patch, stride=stage.patch)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, C, S, S) to (B, H, W, D)."""
        out: Tensor = self.embed(F.avg_pool2d(image, self.pool)).permute(0, 2, 3, 1)
        return out


class Upsample(nn.Module):
    """The features of the stage below, lifted by depth to space."""

    def __init__(self, width: int, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.norm_in = Layer(width)
        self.linear = nn.Linear(width, factor * factor * dim)
        self.norm_out = Layer(dim)

    def forward(self, features: Sequence[Tensor], tau: Tensor) -> Tensor:
        """Map n tensors (B, h, w, width / n) to (B, f h, f w, dim)."""
        x = self.linear(self.norm_in(torch.cat(list(features), dim=-1), tau))
        b, h, w, _ = x.shape
        f = self.factor
        x = x.reshape(b, h, w, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        out: Tensor = self.norm_out(x.reshape(b, h * f, w * f, -1), tau)
        return out


class Head(nn.Module):
    """Norm and 3 x 3 convolution."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.norm = Layer(dim)
        self.conv = nn.Conv2d(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, C, H, W)."""
        out: Tensor = self.conv(self.norm(x, tau).permute(0, 3, 1, 2))
        return out


class Stage(nn.Module):
    """One resolution."""

    def __init__(self, spec: DiMRSpec, index: int) -> None:
        super().__init__()
        stage, grid = spec.stages[index], spec.grids[index]
        self.patchify = Patches(stage, spec.channels)
        self.position = nn.Embedding(grid * grid, stage.dim)
        attends = isinstance(stage, TransformerStage)
        self.class_embedding = nn.Embedding(spec.classes + 1, stage.dim) if attends else None
        self.upsample: Upsample | None = None
        if index > 0:
            factor = grid // spec.grids[index - 1]
            self.upsample = Upsample(spec.handed_widths[index - 1], stage.dim, factor)
        self.trunk = Trunk(stage)
        self.head = Head(stage.dim, spec.channels)

    def forward(
        self, image: Tensor, tau: Tensor, y: Tensor, below: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the prediction (B, C, H, W) and n + 1 features (B, H, W, D)."""
        x = self.patchify(image)
        b, h, w, d = x.shape
        x = x + self.position.weight.reshape(h, w, d)
        if self.upsample is not None:
            x = x + self.upsample(below, tau)
        if self.class_embedding is None:
            features = self.trunk(x, tau)
        else:
            token = self.class_embedding(y).reshape(b, 1, d)
            tokens = torch.cat([token, x.reshape(b, h * w, d)], dim=1)
            features = [f[:, 1:].reshape(b, h, w, d) for f in self.trunk(tokens, tau)]
        return self.head(features[-1], tau), features


class NaiveDiMR(nn.Module):
    """The network of a spec; its weights are to be loaded.

    Raises:
        NotReleased: the spec is an ablation.
    """

    def __init__(self, spec: DiMRSpec) -> None:
        super().__init__()
        for field, value in RELEASED.items():
            if getattr(spec, field) != value:
                msg = f"{field}: got {getattr(spec, field).value!r}; allowed: {value.value!r}"
                raise NotReleased(msg)
        self.stages = nn.ModuleList(Stage(spec, index) for index in range(len(spec.stages)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> list[Tensor]:
        """Predict at every resolution; arguments and result as of `model.denoisers.dimr.DiMR`."""
        tau = (8 * t - 4) / 4
        predictions: list[Tensor] = []
        features: list[Tensor] = []
        for stage in self.stages:
            prediction, features = stage(x, tau, y, features)
            predictions.append(prediction)
        return predictions
