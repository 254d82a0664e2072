"""The test for altered tissue: box sums as a loop would have them, what it does not depend on, what it finds."""

import numpy as np
import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.alteration import BOXES, FEATURES, LEAST, Alteration, features, half_widths
from edge_pigment.boxes import box_sums
from edge_pigment.errors import BundleError
from edge_pigment.innovation import Innovation
from edge_pigment.prior.bundle import ALTERATION, SUMS, Bundle, load_bundle, sums

RNG = np.random.default_rng(0)
SIZE = np.array([2.5, 2.5, 4.0])


def head(shape=(12, 40, 44)):
    """FA, MD and its sd of an ellipsoid's voxels, white inside and grey outside, with a fluid middle; and its mask."""
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    r = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    mask = r < 1
    md = np.select([r < 0.25, r < 0.75], [2.6e-3, 0.74e-3], 0.84e-3)
    fa = np.select([r < 0.25, r < 0.75], [0.08, 0.45], 0.15)
    noise = RNG.normal(0, 0.04, shape)
    return np.array(fa * (1 + noise), np.float32), np.array(md * (1 + noise), np.float32), mask


def foretold(mask):
    """Innovations of what the prior had foretold all of."""
    return Innovation(*np.zeros((4, mask.sum()), np.float32))


def test_sums_over_boxes_are_those_of_a_loop():
    image = RNG.normal(size=(2, 5, 6, 7)).astype(np.float32)
    found = box_sums(image, (1, 2, 9))
    for z, y, x in np.ndindex(5, 6, 7):
        part = image[:, max(z - 1, 0) : z + 2, max(y - 2, 0) : y + 3]
        np.testing.assert_allclose(found[:, z, y, x], part.sum((1, 2, 3)), rtol=1e-5, atol=1e-5)


def test_features_do_not_depend_on_what_the_whole_brain_diffuses_at():
    fa, md, mask = head()
    once, again = (features(fa[mask], k * md[mask], k * 0.1 * md[mask], foretold(mask), mask, SIZE) for k in (1, 1.15))
    assert once.shape == (mask.sum(), FEATURES)
    assert np.all(np.isfinite(once))
    np.testing.assert_allclose(once, again, atol=2e-3)


def test_features_are_those_of_the_brain_wherever_it_lies():
    fa, md, mask = head()
    wide = [np.pad(a, 9) for a in (fa, md, mask)]
    once, again = (features(f[m], d[m], 0.1 * d[m], foretold(m), m, SIZE) for f, d, m in ((fa, md, mask), wide))
    np.testing.assert_allclose(once, again, atol=1e-4)


def test_what_is_altered_stands_out_and_the_rest_does_not():
    test = load_bundle().alteration()
    fa, md, mask = head()
    ball = np.zeros_like(mask)
    ball[3:7, 24:32, 28:36] = True
    ball &= (md < 1e-3) & mask
    for factor in (0.5, 1.9):
        ill = np.where(ball, factor * md, md)
        score = test.score(fa[mask], ill[mask], 0.06 * ill[mask], foretold(mask), mask, SIZE)
        healthy = test.score(fa[mask], md[mask], 0.06 * md[mask], foretold(mask), mask, SIZE)
        inside = ball[mask]
        assert np.mean(healthy[~inside] > 3.09) < 0.01
        assert np.median(score[inside]) > np.quantile(healthy, 0.97)


def test_too_little_tissue_is_not_judged():
    mask = np.ones((1, 1, LEAST - 1), bool)
    few = np.full(mask.size, 0.8e-3, np.float32)
    assert not load_bundle().alteration().score(few * 0, few, few, foretold(mask), mask, SIZE).any()


def test_an_image_of_one_slice_is_judged():
    fa, md, mask = head((1, 40, 44))
    score = load_bundle().alteration().score(fa[mask], md[mask], 0.1 * md[mask], foretold(mask), mask, SIZE)
    assert np.all(np.isfinite(score))


def test_what_is_written_is_what_is_read(tmp_path):
    test = load_bundle().alteration()
    test.write(tmp_path / "a.json")
    again = Alteration.read(tmp_path / "a.json")
    seen = RNG.normal(size=(50, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(again.odds(seen), test.odds(seen), rtol=1e-4, atol=1e-3)


def test_a_bundle_may_lack_the_test(tmp_path):
    assert Bundle(tmp_path, load_bundle().manifest, "").alteration() is None


def test_a_test_for_other_features_is_refused(tmp_path):
    test = load_bundle().alteration()
    other = Alteration(test.mean[:-1], test.sd[:-1], test.layers, test.log_odds, test.normal)
    other.write(tmp_path / ALTERATION)
    (tmp_path / SUMS).write_text(sums(tmp_path))
    with pytest.raises(BundleError, match=opening(texts.BUNDLE_MANIFEST)):
        Bundle(tmp_path, load_bundle().manifest, "").alteration()


@pytest.mark.parametrize("size", [(1.2, 1.2, 1.2), (2.0, 2.5, 5.0), (4.0, 4.0, 8.0), (30.0, 30.0, 30.0)])
def test_boxes_grow_at_any_voxel_size(size):
    found = half_widths(np.array(size))
    assert len(found) == len(BOXES)
    for before, after in zip([(0, 0, 0), *found], found, strict=False):
        assert after[1] > before[1]
        assert after[2] > before[2]
        assert after[0] >= 1
