"""The gradient table: the frame rule, the shells, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from conftest import AFFINE_LAS, AFFINE_RAS, DIRECTIONS_6, opening
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable, fsl_signs

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


@pytest.mark.parametrize(
    ("bval", "why"), [("", "empty"), ("0 x 1000", "float"), ("0 1\n2", "differ in length")]
)
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
