"""The volumes that a tensor is fitted to."""

import numpy as np
import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.findings import CARE, NOTE
from edge_pigment.gradients import GradientTable
from edge_pigment.screening.shells import choose_volumes, tell_shells
from edge_pigment.simulate.directions import electrostatic


def table(*shells):
    """One b=0, and shells of (b, directions)."""
    bvals = np.concatenate([[0.0], *(np.full(n, float(b)) for b, n in shells)])
    bvecs = np.concatenate([np.zeros((1, 3)), *(np.resize(electrostatic(max(n, 6)), (n, 3)) for _, n in shells)])
    return GradientTable(bvals, bvecs)


@pytest.mark.parametrize(
    ("shells", "highest"),
    [
        ([(1000, 6)], 1000),
        ([(2000, 20)], 2000),  # one shell stays, whatever its b
        ([(3000, 30)], 3000),
        ([(1000, 30), (2000, 60)], 1000),
        ([(750, 3), (1500, 6), (2250, 9), (3000, 12), (6000, 24)], 1500),
        ([(b, 33) for b in range(200, 3001, 200)], 1200),
        ([(700, 30), (1500, 30)], 1500),  # low b alone would lose half of the data
        ([(250, 6), (2000, 60)], 2000),  # b = 250 tells next to nothing
        ([(1000, 3), (2000, 30)], 2000),  # three directions are no tensor
        ([(300, 8), (700, 32), (2000, 64)], 700),
    ],
)
def test_the_lowest_shells_that_determine_the_tensor_are_taken(shells, highest):
    scan = table(*shells)
    chosen = choose_volumes(scan)
    np.testing.assert_array_equal(chosen, np.flatnonzero(scan.bvals <= highest))


def test_what_is_left_out_is_told():
    scan = table((1000, 12), (3000, 12))
    (found,) = tell_shells(scan, choose_volumes(scan), np.arange(25) + 100)
    assert found.level == NOTE
    assert "b = 3000" in found.text
    assert "113" in found.text
    assert tell_shells(table((2000, 12)), np.arange(13), np.arange(13)) == ()
    (biased,) = tell_shells(table((3000, 12)), np.arange(13), np.arange(13))
    assert biased.level == CARE
    assert opening(texts.HIGH_B_BIASED).replace("\\", "") in biased.text
