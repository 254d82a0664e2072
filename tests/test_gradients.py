"""The gradient table: the frame rule, the shells, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conftest import AFFINE_LAS, AFFINE_RAS, DIRECTIONS_6, opening, scan_head
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, find_bids, read_acquisition
from edge_pigment.brainmask import brain_mask
from edge_pigment.convention import CLEARLY, SIGNS, Axes, check_convention
from edge_pigment.errors import InputError
from edge_pigment.gradients import (
    B0_THRESHOLD,
    LEAST_SHELL_WIDTH,
    SHELL_WIDTH,
    GradientTable,
    find_b0_threshold,
    fsl_signs,
)
from edge_pigment.physics.tensor import from_matrix, quadratic_form, to_matrix
from edge_pigment.quality.protocol import identify
from edge_pigment.simulate.directions import electrostatic

BVALS = np.array([0.0] + [1000.0] * 6)
BVECS = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def files(folder: Path, bval: str, bvec: str) -> tuple[Path, Path]:
    (folder / "a.bval").write_text(bval)
    (folder / "a.bvec").write_text(bvec)
    return folder / "a.bval", folder / "a.bvec"


def rows(table: np.ndarray, separator: str = " ") -> str:
    return "\n".join(separator.join(f"{v:.8f}" for v in row) for row in np.atleast_2d(table)) + "\n"


unit_vectors = (
    arrays(np.float64, st.tuples(st.integers(4, 12), st.just(3)), elements=st.floats(-1, 1))
    .filter(lambda v: bool(np.all(np.linalg.norm(v, axis=1) > 0.1)))
    .map(lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))
)
affines = arrays(np.float64, (3, 3), elements=st.floats(-3, 3)).filter(lambda a: abs(np.linalg.det(a)) > 0.1)


@quick
@given(
    unit_vectors,
    affines,
    st.sampled_from([" ", "\t", ",", ", ", "  "]),
    st.booleans(),
    st.booleans(),
)
def test_any_layout_of_the_files_reads_the_same(tmp_path, vectors, linear, separator, column, transposed):
    bvals = np.concatenate([[0.0], np.full(len(vectors), 1000.0)])
    bvecs = np.concatenate([np.zeros((1, 3)), vectors])
    affine = np.eye(4)
    affine[:3, :3] = linear
    table = GradientTable(bvals, bvecs)
    b, v = table.to_fsl(affine)
    paths = files(
        tmp_path,
        rows(b[:, None] if column else b[None], separator),
        rows(v.T if transposed else v, separator),
    )
    again = GradientTable.from_fsl_files(*paths, affine)
    np.testing.assert_allclose(again.bvals, bvals)
    np.testing.assert_allclose(again.bvecs, bvecs, atol=1e-7)


@quick
@given(unit_vectors, st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_signs_undo_themselves(vectors, signs):
    table = GradientTable(np.full(len(vectors), 1000.0), vectors)
    np.testing.assert_allclose(table.with_signs(signs).with_signs(signs).bvecs, table.bvecs)


def test_the_first_component_is_negated_where_the_determinant_is_positive(tmp_path):
    paths = files(tmp_path, rows(BVALS), rows(BVECS.T))
    np.testing.assert_allclose(GradientTable.from_fsl_files(*paths, AFFINE_LAS).bvecs, BVECS, atol=1e-7)
    flipped = GradientTable.from_fsl_files(*paths, AFFINE_RAS).bvecs
    np.testing.assert_allclose(flipped, BVECS * [-1, 1, 1], atol=1e-7)
    assert fsl_signs(AFFINE_RAS).tolist() == [-1, 1, 1]


def test_written_files_read_back(tmp_path):
    table = GradientTable(BVALS, BVECS)
    table.write_fsl(tmp_path / "w.bval", tmp_path / "w.bvec", AFFINE_RAS)
    assert "-0 " not in (tmp_path / "w.bvec").read_text()
    again = GradientTable.from_fsl_files(tmp_path / "w.bval", tmp_path / "w.bvec", AFFINE_RAS)
    np.testing.assert_allclose(again.bvecs, table.bvecs, atol=1e-7)


def test_directions_of_b0_volumes_are_zero_and_others_normalised():
    table = GradientTable([5.0, 1000.0], [[0, 0, 1.0], [0, 1.015, 0]])
    assert table.bvecs.tolist() == [[0, 0, 0], [0, 1, 0]]
    assert table.is_b0.tolist() == [True, False]
    with pytest.raises(ValueError, match="read-only"):
        table.bvals[0] = 1


def test_shells_gather_jittered_b_values():
    table = GradientTable([0, 995, 3005, 1005, 2990, 1000, 200, 400], [[0, 0, 0]] + [[1, 0, 0]] * 7)  # type: ignore[arg-type]
    assert [(s.bval, s.indices.tolist()) for s in table.shells] == [
        (200, [6]),
        (400, [7]),
        (1000, [1, 3, 5]),
        (2997.5, [2, 4]),
    ]
    assert table.subset([0]).shells == ()


def test_subset_takes_indices_and_masks():
    table = GradientTable(BVALS, BVECS)
    np.testing.assert_array_equal(table.subset([3, 0]).bvecs, table.bvecs[[3, 0]])
    np.testing.assert_array_equal(table.subset(table.is_b0).bvals, [0])


def test_a_shell_without_directions_is_one_of_trace_images():
    bvecs = np.array([[0, 0, 0]] * 4 + [[1, 0, 0], [0, 1, 0]])
    table = GradientTable(np.array([0, 1000, 5, 1010, 2000, 2000]), bvecs)
    assert table.is_trace.tolist() == [False, True, False, True, False, False]
    assert [shell.indices.tolist() for shell in table.shells] == [[1, 3], [4, 5]]
    assert table.subset([0, 3, 4]).is_trace.tolist() == [False, True, False]
    only = table.subset([0, 1])
    only.check_protocol()
    assert identify(only).warnings == (texts.TRACE_IMAGES.format(volumes="1"), texts.TRACE_ONLY)
    assert texts.TRACE_ONLY not in identify(table).warnings
    assert identify(table).rank == 3


def test_a_trace_image_beside_directions_of_its_shell_is_refused():
    with pytest.raises(InputError, match=opening(texts.BVEC_ZERO)) as raised:
        GradientTable(np.array([0, 1000, 1040, 2000.0]), np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0.0]]))
    assert "Volume 2 (" in str(raised.value)


def replaced(array: np.ndarray, index: object, value: object) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("bvals", "bvecs", "text"),
    [
        (BVALS, replaced(BVECS, 2, 0), texts.BVEC_ZERO),
        (BVALS, replaced(BVECS, 2, BVECS[2] * 0.7), texts.BVEC_NOT_UNIT),
        (BVALS, replaced(BVECS, (2, 1), np.nan), texts.GRADIENTS_NOT_FINITE),
        (replaced(BVALS, 3, np.nan), BVECS, texts.GRADIENTS_NOT_FINITE),
        (replaced(BVALS, 3, -1000), BVECS, texts.BVAL_NEGATIVE),
        (replaced(BVALS, 3, 224665), BVECS, texts.BVAL_TOO_LARGE),
        (replaced(BVALS, 3, 1e308), BVECS, texts.BVAL_TOO_LARGE),
        (BVALS / 1000, BVECS, texts.BVAL_UNIT),
        (BVALS[1:], BVECS[1:], texts.NO_B0),
        (BVALS * 0, BVECS, texts.NO_DIFFUSION_WEIGHTING),
        (BVALS[:-1], BVECS, texts.COUNTS_DIFFER),
        (BVALS, BVECS[:-1], texts.COUNTS_DIFFER),
        (BVALS, np.concatenate([BVECS, BVECS[:, :1]], 1), texts.BVEC_SHAPE),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path, bvals, bvecs, text):
    paths = files(tmp_path, rows(bvals), rows(bvecs.T))
    with pytest.raises(InputError, match=opening(text)):
        GradientTable.from_fsl_files(*paths, AFFINE_LAS)


@pytest.mark.parametrize(("bval", "why"), [("", "empty"), ("0 x 1000", "not a number"), ("0 1\n2", "differ in length")])
def test_a_file_that_is_no_table_is_refused(tmp_path, bval, why):
    paths = files(tmp_path, bval, rows(BVECS.T))
    with pytest.raises(InputError, match=why):
        GradientTable.from_fsl_files(*paths, AFFINE_LAS)


def test_a_missing_file_names_where_it_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.bval.*--bval"):
        GradientTable.from_fsl_files(tmp_path / "nowhere.bval", tmp_path / "nowhere.bvec", AFFINE_LAS)


def test_three_volumes_are_read_where_only_one_reading_makes_sense(tmp_path):
    table = np.array([[0, 0, 0], [1, 0, 0], [0, 0.6, 0.8]])
    for text in (rows(table), rows(table.T)):
        paths = files(tmp_path, "0 1000 1000", text)
        np.testing.assert_allclose(GradientTable.from_fsl_files(*paths, AFFINE_LAS).bvecs, table)


def test_three_volumes_are_refused_where_both_readings_make_sense(tmp_path):
    turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    paths = files(tmp_path, "0 1000 1000", rows(turn))
    with pytest.raises(InputError, match=opening(texts.BVEC_AMBIGUOUS)):
        GradientTable.from_fsl_files(*paths, AFFINE_LAS)
    paths = files(tmp_path, "0 1000 1000", rows(np.eye(3)))  # symmetric: both readings are one
    np.testing.assert_allclose(GradientTable.from_fsl_files(*paths, AFFINE_LAS).bvecs[1:], np.eye(3)[1:])


def tensors(scan: Acquisition, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z, 6) tensors by weighted least squares and their FA."""
    b, g = scan.gradients.bvals / 1000, scan.gradients.bvecs
    scale = np.median(scan.mean_b0[mask])
    y = np.maximum(scan.signal[mask] / scale, 1e-3).astype(float)
    X = np.concatenate([np.ones((len(b), 1)), -b[:, None] * quadratic_form(g)], 1)
    H = np.einsum("vn,ni,nj->vij", y**2, X, X)
    theta = np.linalg.solve(H, np.einsum("vn,ni,vn->vi", y**2, X, np.log(y))[..., None])[..., 0]
    values, vectors = np.linalg.eigh(to_matrix(theta[:, 1:]))
    values = np.clip(values, 0.01, 4)
    D = np.zeros((*mask.shape, 6))
    D[mask] = from_matrix((vectors * values[:, None]) @ np.swapaxes(vectors, 1, 2))
    FA = np.zeros(mask.shape)
    spread = np.sum((values - values.mean(1, keepdims=True)) ** 2, 1)
    FA[mask] = np.sqrt(1.5 * spread / np.sum(values**2, 1))
    return D, FA


def mirrored(D: np.ndarray, signs: tuple[float, ...]) -> np.ndarray:
    """The tensors that the same signal gives with the table's components multiplied by these signs."""
    x, y, z = signs
    return D * np.array([1, 1, 1, x * y, x * z, y * z])


@pytest.fixture(scope="module")
def drawn(head):
    scan = scan_head(head, BVALS, BVECS, 1 / 20)
    return scan, *tensors(scan, head.brain)


@pytest.mark.parametrize("negated", SIGNS)
def test_wrong_signs_are_told_apart_and_right_ones_are_not(head, drawn, negated):
    scan, D, FA = drawn
    found = check_convention(mirrored(D, SIGNS[negated]), FA, head.brain, scan)
    assert found.best == negated
    assert found.scores[negated] == max(found.scores.values())
    assert bool(found.warning) is (negated != "none")
    if found.warning:
        assert found.warning == texts.SIGNS_DOUBTFUL.format(best=negated)
        assert found.lead > CLEARLY
    assert found.as_dict()["BestNegated"] == negated


def test_mirroring_tensors_is_what_other_signs_in_the_table_do(head, drawn):
    scan, D, _ = drawn
    signs = (1.0, -1.0, 1.0)
    other = Acquisition(scan.signal, scan.gradients.with_signs(signs), scan.affine)
    refitted, _ = tensors(other, head.brain)
    np.testing.assert_allclose(refitted, mirrored(D, signs), atol=1e-6)


def test_the_check_is_silent_where_nothing_can_be_said(head, drawn):
    scan, D, FA = drawn
    wrong = mirrored(D, SIGNS["x"])
    middle = slice(15, 17)
    slab = check_convention(wrong[:, :, middle], FA[:, :, middle], head.brain[:, :, middle], scan)
    assert (slab.warning, slab.undecidable) == ("", "fewer than 5 slices")
    few = check_convention(wrong, FA, head.brain, scan.subset([0, 1, 2, 3]))
    assert (few.warning, few.undecidable) == ("", "fewer than six directions")
    grey = check_convention(wrong, FA * 0, head.brain, scan)
    assert (grey.warning, grey.undecidable) == ("", "too little white matter")


@pytest.mark.parametrize("seed", range(3))
def test_the_check_is_silent_in_noise(head, drawn, seed):
    scan, _, _ = drawn
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((*head.brain.shape, 3, 3))
    D = from_matrix(factor @ np.swapaxes(factor, -1, -2))
    found = check_convention(D, rng.uniform(0.2, 0.9, head.brain.shape), head.brain, scan)
    assert found.undecidable == found.warning == ""
    assert found.lead < CLEARLY


@pytest.mark.parametrize(
    ("part", "name"),
    [("validation", "vanderbilt"), ("validation", "uih_acq-AP9134431"), ("train", "prisma01_acq-roll")],
)
@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "6+1"])
def test_real_scans_follow_the_rule_and_flipped_ones_are_found(shared_data, part, name, thinned):
    (path,) = (p for p in find_bids(shared_data / part) if name in p.name)
    scan = read_acquisition(path)
    if thinned:
        chosen = [int(np.flatnonzero(scan.gradients.is_b0)[0])]
        for direction in DIRECTIONS_6:
            order = np.argsort(-np.abs(scan.gradients.bvecs @ direction))
            chosen.append(next(int(n) for n in order if n not in chosen))
        scan = scan.subset(chosen)
    mask = brain_mask(scan.mean_b0, scan.mean_dwi, scan.voxel_size).mask
    D, FA = tensors(scan, mask)
    for negated, signs in SIGNS.items():
        found = check_convention(mirrored(D, signs), FA, mask, scan)
        assert found.best == negated
        assert bool(found.warning) is (negated != "none")


def test_shells_do_not_chain():
    """b-values in small steps are many shells, each no wider than a tenth; what varies by 2 % is one."""
    bvals = np.array([0, *np.linspace(100, 1200, 30)])
    bvecs = np.concatenate([np.zeros((1, 3)), np.tile([1.0, 0, 0], (30, 1))])
    shells = GradientTable(bvals, bvecs).shells
    assert sum(len(shell.indices) for shell in shells) == 30
    for shell in shells:
        own = bvals[shell.indices]
        assert np.ptp(own) <= max(LEAST_SHELL_WIDTH, SHELL_WIDTH * own.min())
    near = GradientTable([0, 990, 1000, 1010, 995, 1005], bvecs[:6])
    assert len(near.shells) == 1
    assert [group.tolist() for group in near.alike] == [[0], [1, 2, 3, 4, 5]]


def test_small_b_keeps_its_value_and_direction():
    """b=0 as scanners write it is 0 in the model; 10 to 50 is what the file says."""
    table = GradientTable([0, 5, 20, 45, 1000], [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0.3, 0, 0], [1, 0, 0]])
    assert table.is_b0.tolist() == [True, True, True, True, False]
    np.testing.assert_array_equal(table.model_bvals, [0, 0, 20, 45, 1000])
    np.testing.assert_array_equal(table.bvecs, [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert not table.is_trace.any()


def test_nan_direction_of_b0_is_none():
    table = GradientTable([0, 1000], [[np.nan] * 3, [1, 0, 0]])
    np.testing.assert_array_equal(table.bvecs[0], 0)
    with pytest.raises(InputError, match=opening(texts.GRADIENTS_NOT_FINITE)):
        GradientTable([0, 1000], [[0, 0, 0], [np.nan] * 3])


@pytest.mark.parametrize(
    ("bvals", "threshold"),
    [
        ([0, 60, 1000], B0_THRESHOLD),
        ([55, 60, 65, 1000, 2000], 65.0),
        ([60, 80, 100, 120, 150, 800], 100.0),
        ([90, 200], B0_THRESHOLD),  # not clearly lower
        ([150, 1000], B0_THRESHOLD),
    ],
)
def test_lowest_b_stands_for_b0(bvals, threshold):
    assert find_b0_threshold(bvals) == threshold


def test_threshold_goes_with_the_table(tmp_path):
    """b=0 stored as 55 to 65, with and without directions, is read; another threshold may be asked for."""
    (tmp_path / "a.bval").write_text("60 65 1000 1000\n")
    (tmp_path / "a.bvec").write_text("0 1 1 0\n0 0 0 1\n0 0 0 0\n")
    table = GradientTable.from_fsl_files(tmp_path / "a.bval", tmp_path / "a.bvec", AFFINE_LAS)
    assert table.is_b0.tolist() == [True, True, False, False]
    assert table.subset([0, 2]).b0_threshold == table.with_signs((1, -1, 1)).b0_threshold == 65
    np.testing.assert_array_equal(table.model_bvals, [60, 65, 1000, 1000])
    (tmp_path / "a.bval").write_text("150 160 1000 1000\n")
    (tmp_path / "a.bvec").write_text("1 1 1 0\n0 0 0 1\n0 0 0 0\n")
    with pytest.raises(InputError, match="--b0-threshold"):
        GradientTable.from_fsl_files(tmp_path / "a.bval", tmp_path / "a.bvec", AFFINE_LAS)
    table = GradientTable.from_fsl_files(tmp_path / "a.bval", tmp_path / "a.bvec", AFFINE_LAS, b0_threshold=200)
    assert table.is_b0.tolist() == [True, True, False, False]


@pytest.mark.parametrize("axes", [Axes((1, 0, 2), (1, 1, 1)), Axes((2, 0, 1), (1, -1, 1)), Axes((0, 2, 1), (-1, 1, 1))])
def test_exchanged_axes_are_found_by_fibres(head, axes):
    """No sign is advised, and the exchange that undoes it is named in the frame of the file."""
    bvecs = np.concatenate([np.zeros((1, 3)), electrostatic(12)])
    scan = scan_head(head, np.r_[0.0, np.full(12, 1000.0)], bvecs, 0.02)
    six = head.D.astype(np.float32)
    matrix = to_matrix(six)[..., list(axes.order), :][..., list(axes.order)]
    tensor = from_matrix(matrix * np.outer(axes.signs, axes.signs))
    fa = np.where(np.linalg.norm(head.D[..., 3:], axis=-1) > 0.1, 0.6, 0.0)
    right = check_convention(six, fa, head.brain, scan)
    assert right.exchange_lead < 0
    assert not right.warning
    found = check_convention(tensor, fa, head.brain, scan)
    assert found.exchange_lead > CLEARLY
    assert "negate" not in found.warning
    back = found.exchange
    turned = np.eye(3)[list(axes.order)] * np.array(axes.signs)[:, None]
    undone = (np.eye(3)[list(back.order)] * np.array(back.signs)[:, None]) @ turned
    np.testing.assert_array_equal(np.abs(undone), np.eye(3))
    assert len(set(np.diag(undone))) == 1


def test_axes_are_named_as_the_file_has_them():
    """Where the affine's determinant is positive the file's first component is negated; a direction is its opposite."""
    axes = Axes((1, 0, 2), (1, 1, 1))
    assert axes.name(fsl_signs(AFFINE_LAS)) == "(y, x, z)"
    assert axes.name(fsl_signs(AFFINE_RAS)) == "(y, x, -z)"
