"""The frame asked of the prior: wrong signs are found by what surroundings let expect, right ones are not doubted."""

import numpy as np
import pytest

from conftest import scan_head
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.adapt import gather
from edge_pigment.convention import CLEARLY, EXCHANGES, SIGNS, Axes, Convention
from edge_pigment.interpolation import WHOLE
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import latent
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.quality import frame
from edge_pigment.quality.frame import ask_exchange, ask_prior, check_frame
from edge_pigment.simulate.directions import electrostatic

BVALS = np.r_[0.0, np.full(6, 1000.0)]
BVECS = np.concatenate([np.zeros((1, 3)), electrostatic(6)])


class Anatomist:
    """A network that knows the head, and expects its tensors whatever it is shown."""

    def __init__(self, mean, mask):
        self._mean = np.zeros((len(mean), *mask.shape), np.float32)
        self._mean[:, mask] = mean
        self._mask = mask
        self.asked = 0

    def prior(self, summary, mask, progress=None):
        self.asked += 1
        # the middle slices of the whole, in which there are as many voxels
        (first,) = (z for z in range(len(self._mask)) if np.array_equal(self._mask[z : z + len(mask)], mask))
        return self._mean[:, first : first + len(mask)][:, mask], None


@pytest.fixture(scope="module")
def scanned(head):
    """Six directions at SNR 5: measurements, summary, and a network that knows better."""
    scan = scan_head(head, BVALS, BVECS, 0.2)
    m = gather(scan, head.brain, 200.0)
    mean = latent(head.S0.T[m.mask], np.moveaxis(head.D, -1, 0).transpose(0, 3, 2, 1)[:, m.mask].T).T
    return scan, m, HostBackend(1).summarise(m.y, m.b, m.bvecs, m.sigma), Anatomist(mean.astype(np.float32), m.mask)


@pytest.mark.parametrize("negated", SIGNS)
def test_the_signs_that_fit_what_is_expected_are_found(scanned, negated):
    _, m, summary, network = scanned
    theta = summary.theta.copy()
    theta[1:] *= frame._mirror(SIGNS[negated]).astype(np.float32)
    best, lead = ask_prior(summary._replace(theta=theta), m.mask, WHOLE, network)
    if negated == "none":
        assert lead < -frame.UNPREDICTED
    else:
        assert best == negated
        assert lead > frame.UNPREDICTED


@pytest.mark.parametrize(
    ("lead", "margin", "share", "asked"),
    [(0.0, 9.0, 0.8, False), (0.0, 9.0, 0.2, True), (9.0, 0.0, 0.2, False), (1.0, 0.0, 0.8, True)],
)
def test_the_prior_is_asked_only_where_fibres_leave_it_open(scanned, monkeypatch, lead, margin, share, asked):
    _, m, summary, network = scanned
    theta = summary.theta.copy()
    theta[1:] *= frame._mirror(SIGNS["y"]).astype(np.float32)
    monkeypatch.setattr(frame, "check_convention", lambda *_: Convention({}, "none", lead, margin, exchange_lead=-9.0))
    before = network.asked
    mask = m.mask.T
    maps = {"tensor": mask, "FA": np.full(mask.shape, 0.5), "datashare": np.full(mask.shape, share)}
    found = check_frame(maps, mask, None, m, summary._replace(theta=theta), network)
    assert (network.asked > before) is asked
    assert found.warning == (texts.SIGNS_UNPREDICTED.format(best="y") if asked else "")
    assert found.as_dict()["Doubted"] is asked


EXCHANGED = Axes((1, 2, 0), (1, -1, 1))
BACK = Axes((2, 0, 1), (1, 1, -1))


def test_an_exchange_of_axes_is_undone(scanned):
    _, m, summary, network = scanned
    theta = summary.theta.copy()
    theta[1:] = frame._turned(theta[1:], EXCHANGED)
    np.testing.assert_array_equal(frame._turned(theta[1:], BACK), summary.theta[1:])
    found, lead = ask_exchange(summary._replace(theta=theta), m.mask, WHOLE, network, EXCHANGES)
    assert np.outer(*[found.signs] * 2).tolist() == np.outer(*[BACK.signs] * 2).tolist()
    assert found.order == BACK.order
    assert lead > frame.UNPREDICTED
    assert ask_exchange(summary, m.mask, WHOLE, network, EXCHANGES)[1] < -frame.UNPREDICTED


@pytest.mark.parametrize(
    ("fibres", "turned", "text"),
    [
        (9.0, EXCHANGED, texts.AXES_EXCHANGED.format(axes="(z, x, -y)")),
        (1.0, EXCHANGED, texts.AXES_UNCLEAR),  # the prior alone
        (9.0, None, texts.AXES_UNCLEAR),  # fibres alone
        (1.0, None, ""),
        (-1.0, EXCHANGED, texts.AXES_UNCLEAR),  # weak data: fibres leave it open
        (-9.0, None, ""),
    ],
)
def test_exchanged_axes_are_told_where_fibres_and_prior_say_so(scanned, monkeypatch, fibres, turned, text):
    _, m, summary, network = scanned
    theta = summary.theta.copy()
    if turned is not None:
        theta[1:] = frame._turned(theta[1:], turned)
    said = Convention({}, "none", 0.0, 9.0, exchange=BACK, exchange_name="(z, x, -y)", exchange_lead=fibres)
    monkeypatch.setattr(frame, "check_convention", lambda *_: said)
    mask = m.mask.T
    maps = {"tensor": mask, "FA": np.full(mask.shape, 0.5), "datashare": np.full(mask.shape, 0.2)}
    found = check_frame(maps, mask, None, m, summary._replace(theta=theta), network)
    assert found.warning == text
    assert "negate" not in found.warning


def test_noise_is_not_doubted(scanned):
    _, m, summary, network = scanned
    rng = np.random.default_rng(1)
    theta = summary.theta[:, rng.permutation(summary.theta.shape[1])]
    assert abs(ask_prior(summary._replace(theta=theta), m.mask, WHOLE, network)[1]) < 2 * frame.UNPREDICTED


def test_a_flipped_axis_of_few_real_directions_is_warned_of(shared_data):
    """Six real directions at b = 2000, with noise added to an SNR of 5: too noisy for fibres to tell."""
    real = read_acquisition(next((shared_data / "train").glob("sub-prisma01/dwi/*ortho_dwi.nii.gz")))
    few = real.subset([0, 6, 8, 11, 16, 18, 20])
    sigma = float(np.median(few.mean_b0[few.mean_b0 > 0.3 * few.mean_b0.max()])) / 16
    noise = sigma * np.random.default_rng(0).standard_normal((2, *few.signal.shape), np.float32)
    noisy = np.hypot(few.signal + noise[0], noise[1])
    for signs in ((1, 1, 1), (-1, 1, 1)):
        scan = Acquisition(noisy, few.gradients.with_signs(signs), few.affine)
        found = run(scan, RunOptions(device="cpu")).provenance["GradientConvention"]
        assert found["LeadInStandardErrors"] < CLEARLY
        assert found["Doubted"] is (signs[0] < 0)
