"""Muon: steepest descent of convolutions in the spectral norm (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

A weight's averaged gradient, as a matrix of output channels by all inputs, is replaced by the nearest matrix whose
singular values are alike, so that directions that the loss seldom asks for are learned as fast as the common ones.
torch's own Muon takes matrices only. Biases stay with AdamW.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: steepest at 0 of those that bring all singular values to 0.7-1.2 in five rounds."""
ROUNDS = 5
AS_ADAM = 0.2
"""Root mean square of an update of AdamW, so that one learning rate serves both (Liu et al. 2025, arXiv:2502.16982)."""
DECAY = 0.01
ADAM_DECAY = 1e-4
EPSILON = 1e-7


def orthogonal(G: Tensor) -> Tensor:
    """(m, n) -> U Vᵀ of its singular value decomposition U S Vᵀ, but for singular values between 0.7 and 1.2."""
    a, b, c = QUINTIC
    X = G / (G.norm() + EPSILON)
    if tall := len(X) > X.shape[1]:
        X = X.T
    for _ in range(ROUNDS):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if tall else X


class Muon(torch.optim.Optimizer):
    """For weights of two and more dimensions, the first of which is the output's."""

    def __init__(self, weights: Iterable[Tensor], lr: float) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        """One step along Nesterov's momentum."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.mul_(MOMENTUM).add_(p.grad)
                ahead = (p.grad + MOMENTUM * average).reshape(len(p), -1).float()
                update = AS_ADAM * max(ahead.shape) ** 0.5 * orthogonal(ahead)
                p.mul_(1 - DECAY * group["lr"]).sub_(group["lr"] * update.reshape(p.shape))


def optimisers(model: nn.Module, lr: float, muon: bool = True) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the weights of a network and AdamW for its biases, or AdamW for all."""
    if not muon:
        return (torch.optim.AdamW(model.parameters(), lr, weight_decay=ADAM_DECAY),)
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    return Muon(weights, lr), torch.optim.AdamW(biases, lr, weight_decay=ADAM_DECAY)
