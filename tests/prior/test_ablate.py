"""Ablations: each variant differs in what it says, and the table holds what was measured."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from test_patches import striped

from edge_pigment.prior.features import CHANNELS, VOXEL_CHANNELS
from edge_pigment_prior.ablate import FlatPrior, SeeingPrior, Variant, ablate, table
from edge_pigment_prior.network import ContextPrior
from edge_pigment_prior.train import Settings

SMALL = Settings(steps=2, batch=1, width=8, wide_width=8, depth=1, head=8)


def moved(kind, channel, at):
    """Whether the output at (8, 8) depends on one input."""
    torch.manual_seed(0)
    model = kind(8, 8, 1, 8)
    torch.nn.init.normal_(model.head[-1].weight)
    features = torch.randn(1, CHANNELS, 16, 16)
    other = features.clone()
    other[0, channel, at[0], at[1]] += 10
    return bool((model(features)[0][0, :, 8, 8] != model(other)[0][0, :, 8, 8]).any())


@pytest.mark.parametrize(
    ("kind", "itself", "above"), [(ContextPrior, False, True), (SeeingPrior, True, True), (FlatPrior, False, False)]
)
def test_what_each_kind_sees(kind, itself, above):
    assert moved(kind, VOXEL_CHANNELS, (8, 8)) == itself
    assert moved(kind, 2 * VOXEL_CHANNELS, (8, 8)) == above
    assert moved(kind, VOXEL_CHANNELS, (8, 9))


def test_variants_are_trained_judged_and_tabled(tmp_path):
    reference = replace(striped([3, -2, 1.5]), sd=0.01)
    variants = (Variant("as shipped"), Variant("Gaussian", {"nu": 1e6}), Variant("two sweeps", sweeps=2))
    rows = ablate([reference], [reference], tmp_path, SMALL, 10, variants, lambda row: None)
    assert [row["variant"] for row in rows] == [v.name for v in variants]
    assert len({row["FA MAE"] for row in rows}) == len(rows)
    assert all(np.isfinite(v) for row in rows for v in list(row.values())[1:])
    assert table(rows).count("\n") == 2 + len(rows)


def test_a_training_that_diverges_is_told_and_does_not_stop_the_rest(tmp_path):
    reference = replace(striped([3, -2, 1.5]), sd=0.01)
    variants = (Variant("as shipped"), Variant("too fast", {"learning_rate": float("inf")}))
    rows = ablate([reference], [reference], tmp_path, SMALL, 10, variants, lambda row: None)
    assert rows[1]["FA MAE"] == "diverged"
    assert table(rows).splitlines()[-1].startswith("| too fast | ")
