"""Errors that a user sees: each text is written once, here, and says what is wrong and how to mend it.

Tests match these texts by name. Raise with `raise InputError(texts.SOME_TEXT.format(...))`.
"""

from collections.abc import Iterable


class EdgePigmentError(Exception):
    """Anything that ends a command with one clear line instead of a traceback."""

    exit_code = 1


class InputError(EdgePigmentError):
    """The user's files or options are not usable as they are; nothing was written."""

    exit_code = 2


class DeviceError(EdgePigmentError):
    """The device that was asked for does not work here."""

    exit_code = 3


class BundleError(InputError):
    """The bundle of the prior is damaged, too new, or lacks what was asked for."""


def listed(indices: Iterable[int], most: int = 8) -> str:
    """Indices as a user reads them: "3, 4, 7", and how many more where there are many."""
    shown = [str(int(index)) for index in indices]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


# --- reading a scan -----------------------------------------------------------------------------------------
IMAGE_MISSING = "There is no image at {path}."
IMAGE_NOT_NIFTI = "{path} is not a NIfTI image (.nii or .nii.gz) that can be read: {why}."
IMAGE_TRUNCATED = "{path} is cut short or damaged ({why}); copy or convert it again."
IMAGE_NOT_4D = (
    "{path} has shape {shape}; a diffusion scan is a 4D image (X, Y, Z, N) with one volume for each "
    "b-value and direction. Give the 4D series as the scanner or dcm2niix made it."
)
IMAGE_NOT_REAL = (
    "{path} holds {dtype} values; magnitudes are needed. Of a complex scan give the magnitude part "
    "(*_part-mag_dwi)."
)
IMAGE_WITHOUT_SIGNAL = "{path} holds no signal: every voxel has the same value, or none is a finite number."
VOLUMES_WITHOUT_SIGNAL = (
    "Volume {volumes} (from 0) of {path} holds no signal (one value everywhere, or nothing finite). Leave "
    "it out of the image, the .bval and the .bvec file."
)
AFFINE_SINGULAR = (
    "The affine of {path} is singular or not finite, so the directions of the image axes, and with them "
    "the gradients, are unknown. Mend the header's sform or qform."
)
ORIENTATION_UNKNOWN = (
    "{path} states no orientation (sform and qform codes are 0); FSL's default is assumed: first axis from "
    "right to left, so the gradient directions are used as they are in the file."
)
VOXELS_NOT_FINITE = "{path} holds {count} values that are not finite numbers; they have no weight."
# --- gradient table -----------------------------------------------------------------------------------------
GRADIENT_FILE_MISSING = (
    "No {kind} file: looked for {looked}. Put it beside the image under the image's name, or give it with "
    "--{kind}."
)
GRADIENT_FILE_UNREADABLE = "{path} is not a table of numbers separated by spaces, tabs or commas: {why}."
BVEC_SHAPE = (
    "{path} has {rows} rows of {columns} numbers; a .bvec file has 3 rows (x, y, z) of one number per "
    "volume, or one row of 3 numbers per volume."
)
BVEC_AMBIGUOUS = (
    "{path} is a 3 by 3 table that makes sense with a direction in each column and with a direction in "
    "each row, so it is not clear which is meant. Add a volume to the scan, or repeat one in the image, "
    ".bval and .bvec."
)
COUNTS_DIFFER = (
    "The number of volumes differs: image {image}, b-values {bvals}, directions {bvecs}. The three must "
    "belong to the same scan."
)
GRADIENTS_NOT_FINITE = "The {kind} of volume {volumes} (from 0) is not a finite number."
BVAL_NEGATIVE = "The b-value of volume {volumes} (from 0) is negative."
BVAL_UNIT = (
    "The largest b-value is {largest:g}, which looks like ms/µm²; b-values are expected in s/mm² (1 ms/µm² "
    "= 1000 s/mm²)."
)
BVEC_ZERO = (
    "Volume {volumes} (from 0) is diffusion-weighted (b > {threshold:g} s/mm²) but has no direction (0 0 "
    "0). Leave trace and mean images out of the image, the .bval and the .bvec file, or mend the .bvec "
    "file."
)
BVEC_NOT_UNIT = (
    "The direction of volume {volumes} (from 0) is not a unit vector (length {length:.3f}). Some scanners "
    "write the b-value into the length of the vector: then the volume's b is the file's b times the "
    "squared length. Put that b into the .bval file and make the direction a unit vector."
)
NO_B0 = (
    "No volume with b = 0 (b at most {threshold:g} s/mm²; the smallest is {smallest:g}): the signal "
    "without diffusion weighting must be known. Add at least one b=0 volume."
)
NO_DIFFUSION_WEIGHTING = "No volume is diffusion-weighted: the largest b-value is {largest:g} s/mm²."
# --- BIDS ---------------------------------------------------------------------------------------------------
BIDS_FOLDER_MISSING = "There is no folder at {path}."
BIDS_NO_SUBJECTS = "{path} holds no sub-<label> folder, so it is not a BIDS dataset."
BIDS_NO_PARTICIPANT = "{path} holds no participant {label}; it holds: {known}."
BIDS_NO_DWI = "No diffusion scan (sub-*/[ses-*/]dwi/*_dwi.nii[.gz]) of {label} in {path}."
