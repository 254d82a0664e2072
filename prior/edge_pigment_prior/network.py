"""The context prior: a fully convolutional network that never sees the voxel it predicts.

Blind spot by construction (Laine et al. 2019, NeurIPS, for the idea; the masked and dilated form follows Wu et al.
2020, ECCV, doi:10.1007/978-3-030-58548-8_21): a branch starts with a convolution whose centre is masked and goes on
with convolutions whose dilation exceeds the mask's reach, so that no path leads from a voxel to itself:

- 3x3, centre masked (offsets -1..1), then dilation 2: an offset of the first is even only if it is 0, which is masked;
- 5x5, centre masked (offsets -2..2), then dilation 3: an offset of the first is a multiple of 3 only if it is 0.

The neighbouring slices are other voxels, so their centres are not masked.

Before and between the convolutions, products: a neighbour's tensor is worth what its uncertainty and its likeness to
the others leave of it, and a sum of ReLUs learns to weigh one channel by another slowly, if at all.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_pigment.physics.adaptation import DIAGONAL, PACKED
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.features import SLICES, VOXEL_CHANNELS
from edge_pigment_prior.loosening import floor, loosen

MEAN_OFFSET = (0.0, 0.9, 0.9, 0.9, 0.0, 0.0, 0.0)
"""The latent of S0 = 1 and D = 0.81 µm²/ms: what the heads' zero output means."""
EMBEDDED, HIDDEN = 16, 32
"""Channels of a voxel's embedding, and of the layer before its gate; three times 16 are whole blocks of a CPU's."""
LOG_DIAGONAL = (-2.0, 6.0)
"""Range of the log diagonal of the precision factor: prior sd between about 7 and 0.002."""


class MaskedConvolution(nn.Conv2d):
    """A convolution blind to the centre voxel of the middle slice's channels; `channels` of each slice."""

    tap: Tensor

    def __init__(self, channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(SLICES * channels, out_channels, kernel_size, padding=kernel_size // 2)
        tap = torch.ones_like(self.weight)
        tap[:, channels : 2 * channels, kernel_size // 2, kernel_size // 2] = 0
        self.register_buffer("tap", tap, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """(B, 3 channels, H, W) -> (B, out, H, W)."""
        return functional.conv2d(input, self.weight * self.tap, self.bias, padding=self.padding)


class EachSlice(nn.Conv2d):
    """A 1x1 convolution that does the same to each of the slices, whose channels lie one after the other."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, 3 in, H, W) -> (B, 3 out, H, W)."""
        return functional.conv2d(input, self.dense(), self.dense_bias())

    def dense(self) -> Tensor:
        """(3 out, 3 in, 1, 1), zero between slices: faster than a grouped convolution on a CPU."""
        blocks = torch.block_diag(*[self.weight[:, :, 0, 0]] * SLICES)  # type: ignore[no-untyped-call]
        return blocks[:, :, None, None]

    def dense_bias(self) -> Tensor | None:
        """(3 out,)."""
        return None if self.bias is None else self.bias.repeat(SLICES)


class Embedding(nn.Module):
    """What is worth knowing of each voxel by itself: values, each times a gate of 0 to 1."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        # without a bias, so that voxels outside the mask stay 0
        self.value = EachSlice(VOXEL_CHANNELS, channels, 1, bias=False)
        self.hidden = EachSlice(VOXEL_CHANNELS, hidden, 1)
        self.gate = EachSlice(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 45, H, W) -> (B, 3 channels, H, W)."""
        return self.value(features) * torch.sigmoid(self.gate(functional.relu(self.hidden(features))))


class Residual(nn.Module):
    """x + a dilated 3x3 convolution of relu(x)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W), unchanged in shape."""
        return x + self.convolution(functional.relu(x))


class Gated(nn.Module):
    """x + a 1x1 convolution of what a dilated 3x3 one gives times a gate (Dauphin et al. 2017, arXiv:1612.08083)."""

    def __init__(self, width: int, dilation: int, values: int) -> None:
        super().__init__()
        self.value = nn.Conv2d(width, values, 3, padding=dilation, dilation=dilation)
        self.gate = nn.Conv2d(width, values, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv2d(values, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W), unchanged in shape."""
        open_part = functional.relu(x)
        return x + self.out(self.value(open_part) * torch.sigmoid(self.gate(open_part)))


class ContextPrior(nn.Module):
    """Features of a neighbourhood -> Gaussian over the latent of the voxel in its middle.

    gates: products in each block of the near branch, half as many in the far one's; 0 for ReLUs alone.
    unknown_md: sd of log MD that no surroundings tell, see `loosening.floor`; 0 leaves that to what was learned.
    even_floor: whether that holds however well MD is measured.
    """

    def __init__(
        self, width: int = 48, wide_width: int = 32, depth: int = 3, head: int = 96, gates: int = 32,
        unknown_md: float = 0.0, even_floor: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.unknown_md, self.even_floor = unknown_md, even_floor
        self.embedding = Embedding(EMBEDDED, HIDDEN) if gates else nn.Identity()
        channels = EMBEDDED if gates else VOXEL_CHANNELS

        def branch(width: int, kernel: int, blocks: int, values: int) -> nn.Sequential:
            dilation = kernel // 2 + 1
            rest = (Gated(width, dilation, values) if gates else Residual(width, dilation) for _ in range(blocks))
            return nn.Sequential(MaskedConvolution(channels, width, kernel), *rest)

        self.near = branch(width, 3, depth, gates)
        self.far = branch(wide_width, 5, 2, gates // 2)
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width + wide_width, head, 1),
            nn.ReLU(),
            nn.Conv2d(head, head, 1),
            nn.ReLU(),
            nn.Conv2d(head, DIMENSION + PACKED, 1),
        )
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        is_diagonal = torch.zeros(PACKED, dtype=torch.bool)
        is_diagonal[list(DIAGONAL)] = True
        self.register_buffer("is_diagonal", is_diagonal.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(MEAN_OFFSET).view(1, -1, 1, 1), persistent=False)
        with torch.no_grad():
            # a prior sd of e⁻² ≈ 0.14 to begin with
            last.bias[DIMENSION:][is_diagonal] = 2.0

    is_diagonal: Tensor
    offset: Tensor

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 45, H, W) -> mean μ (B, 7, H, W) and packed lower precision factor L (B, 28, H, W), Λ = L Lᵀ."""
        embedded = self.embedding(features)
        out = self.head(torch.cat([self.near(embedded), self.far(embedded)], dim=1))
        if out.dtype != torch.float32:  # bfloat16 in training; the exponential below needs its digits
            out = out.float()
        mean = self.offset + out[:, :DIMENSION]
        factor = out[:, DIMENSION:]
        factor = torch.where(self.is_diagonal, torch.exp(torch.clamp(factor, *LOG_DIAGONAL)), factor)
        if self.unknown_md:
            highest = self.unknown_md
            sd = torch.full_like(mean[:, 0], highest) if self.even_floor else floor(features, mean, highest)
            factor = loosen(mean, factor, sd)
        return mean, factor

    def targets(self, z: Tensor) -> Tensor:
        """(M, 7) latents in the coordinates that the network predicts: these, but see `latents`."""
        return z

    def macs(self) -> int:
        """Multiply-adds per voxel, those with the zeros between slices and in the masked taps among them."""
        layers = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        return sum(m.weight.numel() * (SLICES**2 if isinstance(m, EachSlice) else 1) for m in layers)


def student_nll(mean: Tensor, factor: Tensor, z: Tensor, nu: float) -> Tensor:
    """Negative log density, up to a constant, of the multivariate Student-t that the adaptation uses as its prior.

    Args:
        mean: (M, 7).
        factor: (M, 28) packed lower L of the precision.
        z: (M, 7) reference latents.
        nu: degrees of freedom.

    Returns:
        (M,).
    """
    e = z - mean
    distance = torch.zeros_like(e[:, 0])
    log_determinant = torch.zeros_like(e[:, 0])
    for column in range(DIMENSION):  # (Lᵀe)_column, L packed row by row
        rows = range(column, DIMENSION)
        projected = sum((factor[:, r * (r + 1) // 2 + column] * e[:, r] for r in rows), torch.zeros_like(e[:, 0]))
        distance = distance + projected**2
        log_determinant = log_determinant + torch.log(factor[:, DIAGONAL[column]])
    return 0.5 * (nu + DIMENSION) * torch.log1p(distance / nu) - log_determinant
