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


class IncompleteError(InputError):
    """A file that is cut short, damaged or still being written; `why` says so in a few words."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class UnrelatedError(InputError):
    """An image that is no diffusion scan of its own but may well lie beside one, such as b=0 volumes alone."""


class DeviceError(EdgePigmentError):
    """The device that was asked for does not work here."""

    exit_code = 3


class ResourceError(InputError):
    """The machine has too little memory or disk space, or its file system refuses; nothing was written."""


class BundleError(InputError):
    """The bundle of the prior is damaged, too new, or lacks what was asked for."""


SOME_FAILED = 4
"""Exit code of `run` on a dataset where scans that should have worked failed, and others were run."""


def listed(indices: Iterable[int], most: int = 8) -> str:
    """Indices as a user reads them: "3, 4, 7", and how many more where there are many."""
    shown = [str(int(index)) for index in indices]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


# --- reading a scan -----------------------------------------------------------------------------------------
IMAGE_MISSING = "There is no image at {path}."
IMAGE_LINK_BROKEN = (
    "{path} is a link to a file that is not here. Fetch it first (`datalad get` or `git annex get`), or copy the file."
)
IMAGE_NOT_NIFTI = "{path} is not a NIfTI image (.nii or .nii.gz) that can be read: {why}."
IMAGE_TRUNCATED = "{path} is cut short or damaged ({why}); copy or convert it again."
IMAGE_NOT_4D = (
    "{path} has shape {shape}; a diffusion scan is a 4D image (X, Y, Z, N) with one volume for each "
    "b-value and direction. Give the 4D series as the scanner or dcm2niix made it."
)
IMAGE_NOT_REAL = (
    "{path} holds {dtype} values; magnitudes are needed. Of a complex scan give the magnitude part (*_part-mag_dwi)."
)
IMAGE_WITHOUT_SIGNAL = "{path} holds no signal: every voxel has the same value, or none is a finite number."
VOLUMES_WITHOUT_SIGNAL = (
    "Volume {volumes} (from 0) of {path} holds no signal (one value everywhere, or nothing finite). Leave "
    "it out of the image, the .bval and the .bvec file."
)
IMAGE_FOLDED = (
    "{path} has shape {shape}: its {slices} slices seem to be {count} volumes of {each} slices in one 3D image. "
    "Convert it again with dcm2niix, or reshape it to (X, Y, Z, N)."
)
IMAGE_AXES_ORDER = (
    "{path} has shape {shape} and {count} b-values: its volumes seem to lie along dimension {axis}, and they must lie "
    "along the fourth. Move that axis to the end."
)
IMAGE_SCALING = (
    "{path} has a scaling with slope {slope:g} and intercept {inter:g}, so its values are unknown. Mend scl_slope and "
    "scl_inter in the header."
)
SLOPE_NEGATIVE = (
    "{path} has a scaling with a negative slope ({slope:g}), which turns bright into dark. It is applied; look whether "
    "the b=0 image is as it should be."
)
VECTOR_VOLUMES = "{path} has shape {shape}; its fifth dimension is taken for the volumes."
BITPIX_DIFFERS = (
    "The header of {path} says {stated} bits a voxel, but its data type has {bits}; the file's size fits the data type."
)
AFFINE_SINGULAR = (
    "The affine of {path} is singular or not finite, so the directions of the image axes, and with them "
    "the gradients, are unknown. Mend the header's sform or qform."
)
QFORM_UNUSABLE = (
    "The header of {path} gives the orientation by its qform alone, and that is unusable: {why}. Mend the header's "
    "qform, or set a sform."
)
PIXDIM_UNUSABLE = (
    "The header of {path} states no orientation, and no voxel size either (pixdim {pixdim}). Mend the header, or "
    "convert the scan again."
)
VOXEL_SIZE_IMPLAUSIBLE = (
    "The voxels of {path} measure {sizes} mm by its header, which no scan of a head has. Mend the header's affine and "
    "its unit (xyzt_units)."
)
QFORM_LEFT_OUT = "The qform of {path} is unusable ({why}) and is left out; its sform gives the orientation."
QFORM_ROUNDED = "The qform of {path} has a quaternion longer than 1 ({length:.7g}); it is taken at length 1."
AFFINES_DIFFER = (
    "The sform and the qform of {path} place its voxels up to {mm:.1f} mm apart; the sform is used.{hand} If the scan "
    "was moved or resampled, check the header."
)
AFFINES_OTHER_HAND = (
    " They also differ in handedness, which decides how the first row of the .bvec file is read: V1 is wrong if the "
    "qform is the right one."
)
ZOOMS_DIFFER = (
    "The header of {path} gives voxels of {sform} mm by its sform and of {pixdim} mm by pixdim; the sform is used. If "
    "the scan was resampled, check which is right."
)
UNIT_CONVERTED = "The header of {path} gives lengths in {unit}; they are converted, and the maps are in mm."
UNIT_IMPLAUSIBLE = (
    "The header of {path} says that lengths are in {unit}, which would make voxels of {sizes} mm; they are taken as mm."
)
ORIENTATION_UNKNOWN = (
    "{path} states no orientation (sform and qform codes are 0); FSL's default is assumed: first axis from "
    "right to left, so the gradient directions are used as they are in the file."
)
VOXELS_NOT_FINITE = "{path} holds {count} values that are not finite numbers; they have no weight."

TABLE_INHERITED = "The {kind} of {image} is taken from {path}, by the inheritance of BIDS."
TABLE_AMBIGUOUS = (
    "{first} and {second} both apply to {image}, and BIDS allows one. Remove one, or give the file with --{kind}."
)

# --- gradient table -----------------------------------------------------------------------------------------
GRADIENT_FILE_MISSING = (
    "No {kind} file: looked for {looked}. Put it beside the image under the image's name, or give it with --{kind}."
)
GRADIENT_FILE_UNREADABLE = "{path} is not a table of numbers separated by spaces, tabs or commas: {why}."
TABLES_SWAPPED = (
    "{bval} holds directions and {bvec} one number per volume: the two tables are the wrong way round. Exchange --bval "
    "and --bvec."
)
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
BVAL_TOO_LARGE = (
    "The b-value of volume {volumes} (from 0) is {bval:g} s/mm², which no scanner reaches ({most:g} at most). Mend the "
    ".bval file."
)
BVAL_NEGATIVE = "The b-value of volume {volumes} (from 0) is negative."
BVAL_UNIT = (
    "The largest b-value is {largest:g}, which looks like ms/µm²; b-values are expected in s/mm² (1 ms/µm² "
    "= 1000 s/mm²)."
)
BVEC_ZERO = (
    "Volume {volumes} (from 0) is diffusion-weighted but has no direction (0 0 0), unlike others of its b-value "
    "({bval:g} s/mm²). Leave trace and mean images of these out of the image, the .bval and the .bvec file, or mend "
    "the .bvec file."
)
BVEC_NOT_UNIT = (
    "The direction of volume {volumes} (from 0) is not a unit vector (length {length:.3f}). Some scanners "
    "write the b-value into the length of the vector: then the volume's b is the file's b times the "
    "squared length. Put that b into the .bval file and make the direction a unit vector."
)
NO_B0 = (
    "No volume with b = 0 (b at most {threshold:g} s/mm²; the smallest is {smallest:g}): the signal "
    "without diffusion weighting must be known. Add at least one b=0 volume, or say with --b0-threshold up to which b "
    "a volume counts as b=0."
)
NO_DIFFUSION_WEIGHTING = "No volume is diffusion-weighted: the largest b-value is {largest:g} s/mm²."

# --- the check of the gradient table by tract coherence ---
SIGNS_DOUBTFUL = (
    "The gradient directions seem to break the BIDS/FSL rule: fibres continue clearly better with the {best} "
    "components negated. FA and MD do not depend on that, but V1 and the tensor do. Check the .bvec file, and "
    "negate its {best} row if that is so."
)
SIGNS_UNPREDICTED = (
    "The gradient directions seem to break the BIDS/FSL rule: with the {best} components negated, voxels are clearly "
    "more like what their surroundings let the prior expect. MD does not depend on that, but V1 and the tensor do, and "
    "FA where it leans on the prior. Check the .bvec file, and negate its {best} row if that is so."
)

AXES_UNCLEAR = (
    "The gradient directions do not fit the image: fibres do not continue as they should, and which other axes, signs "
    "or order of directions would be right is not clear. MD does not depend on that, but V1 and the tensor do, and FA "
    "may. Check the .bvec file against the image, and convert the scan again."
)
AXES_EXCHANGED = (
    "The axes of the gradient directions seem to be exchanged: with the components x, y, z of the .bvec file taken as "
    "{axes}, fibres continue better and voxels are more like what their surroundings let the prior expect. MD does not "
    "depend on that, but V1 and the tensor do. Check the .bvec file."
)

# --- BIDS ---------------------------------------------------------------------------------------------------
BIDS_FOLDER_MISSING = "There is no folder at {path}."
BIDS_NO_SUBJECTS = "{path} holds no sub-<label> folder, so it is not a BIDS dataset."
BIDS_NO_PARTICIPANT = "{path} holds no participant {label}; it holds: {known}."
BIDS_SKIPPED = "{scan} is passed over: {why}"
BIDS_PART = "it is the {part} of a complex scan; magnitudes are needed."
BIDS_DERIVED = "it is derived from {scan}, which lies beside it."
BIDS_NOTHING_RUN = "There is no diffusion scan to run: {scan} is passed over: {why}"
BIDS_NO_DWI = "No diffusion scan (sub-*/[ses-*/]dwi/*_dwi.nii[.gz]) of {label} in {path}."

# --- the bundle of the prior --------------------------------------------------------------------------------
BUNDLE_MISSING = (
    "{path} is not a bundle (no manifest.json and SHA256SUMS). Leave --bundle out for the shipped one, or "
    "make one with `edge-pigment export`."
)
BUNDLE_HASH = "The bundle at {path} is damaged: {files} does not match SHA256SUMS. Copy or install it again."
BUNDLE_SCHEMA = (
    "The bundle at {path} has schema version {found}; this edge-pigment knows up to {known}. Upgrade edge-pigment."
)
BUNDLE_MANIFEST = "The manifest of the bundle at {path} is not usable: {why}. Export the bundle again."
BUNDLE_CONTRACT = (
    "The bundle at {path} was made for another contract {found}; this edge-pigment needs {expected}. Use "
    "the bundle that came with it."
)
SIGNATURE_LIBRARY = "Signatures need the cryptography library ({why}): pip install 'edge-pigment[sign]'"
SIGNATURE_MISSING = (
    "The bundle at {path} is not signed (no {name}). Ask its maker for a signed one, or leave --public-key out."
)
SIGNATURE_WRONG = (
    "The bundle at {path} was not signed by the key {key}: it is another one, or was changed since. Do not use it."
)
KEY_UNREADABLE = "{path} holds no {kind} Ed25519 key in PEM format: {why}."
BUNDLE_FLAVOUR = "The bundle at {path} has no {flavour} flavour; it has: {have}."

# --- noise ---
NOISE_NOT_FOUND = (
    "No noise was found in the scan: an SNR of {snr:g} is assumed. If it was denoised, smoothed or simulated without "
    "noise, standard deviations are too small; give the noise's sd with --sigma."
)
NOISE_FILTERED = (
    "The scan looks denoised (filtered noise): what noise is left cannot be told from it, and standard deviations may "
    "be too small. Use the scan as it was acquired, or give the noise's sd before denoising with --sigma."
)
NOISE_DISAGREES = (
    "Noise measured in air (sd {air:.3g}) and in the brain (sd {brain:.3g}) disagree, so standard deviations may be "
    "wrong by as much. The scan may be filtered, or corrected for coil sensitivity. If you know the noise sd, give it "
    "with --sigma."
)
NOISE_RESAMPLED = (
    "The scan looks resampled in three dimensions (motion correction, or another voxel size): noise is alike in "
    "neighbouring slices. Deviations allow for that, but not for the blur. Use the scan as it was acquired if you can."
)

# --- running ------------------------------------------------------------------------------------------------
MASK_MISSING = "There is no mask file at {path}. Give the mask of this scan, or leave --mask out."
MASK_UNREADABLE = "The mask {path} cannot be read as a NIfTI image: {why}."
MASK_NOT_REAL = "The mask {path} holds {dtype} values; a mask has one real number a voxel, 0 outside and 1 inside."
MASK_VOLUMES = "The mask {path} holds {count} volumes; a mask is one 3D image. Give the volume that is the mask."
MASK_SHAPE = "The mask {path} has shape {found}; the scan has {expected}. Resample the mask to the scan's grid."
MASK_GRID = (
    "The mask {path} lies on another grid than the scan: {why}. Resample it to the scan's grid (nearest neighbour)."
)
MASK_EMPTY = (
    "The mask {path} holds no voxel with signal (a mask is 0 outside and 1 inside; half and more counts as inside). "
    "Give a mask of this scan, or leave --mask out."
)
MASK_UNPLACED = (
    "{path} states no orientation (sform and qform codes are 0), so the mask is laid on the scan voxel by voxel."
)
MASK_NEARLY = "The mask {path} lies up to {voxels:.2f} voxels beside the scan's grid; it is used as if it lay on it."
MASK_REORIENTED = "The mask {path} has its axes in another order or direction than the scan; it was turned to fit."
SIGMA_NOT_POSITIVE = (
    "--sigma {sigma} is not a positive number of a sensible size; it is the noise's sd in the unit of the image."
)
SIGMA_DOUBTFUL = (
    "--sigma {given:.3g} is far from the noise that the scan shows (sd {seen:.3g}), and all deviations are wrong by as "
    "much. Give it in the unit of the image, after its scale factor, or leave --sigma out."
)
NO_BRAIN = "No brain was found: no voxel of the b=0 image has signal. Check the image, or give --mask."
DEVICE_UNKNOWN = "The device {device!r} is not known; choose auto, cpu or cuda."
CUDA_UNAVAILABLE = "--device cuda cannot be had: {why}. Use --device cpu, or --device auto."

# --- writing results ----------------------------------------------------------------------------------------
OUTPUT_EXISTS = "{path} exists already; --overwrite replaces it, or give another folder with -o."
OUTPUT_NOT_OURS = (
    "{path} holds something that edge-pigment did not write, so nothing is written there, not even with "
    "--overwrite. Give a new folder with -o."
)
OUTPUT_NOT_A_FOLDER = "{path} is a file; results go into a folder. Give another place with -o."
OUTPUT_PARENT_MISSING = "{path} cannot be created: there is no folder {parent}."
OUTPUT_NOT_WRITABLE = "{path} cannot be written: {why}."
OUTPUT_HOLDS_INPUT = (
    "{path} holds the input {input}, and input is never replaced by results. Give another folder with -o."
)
OUTPUT_AMONG_INPUT = (
    "{path} lies among the raw data in {folder}, where no results go. Give another folder with -o, such as "
    "derivatives/edge-pigment beside the participants."
)
OUTPUT_IN_USE = "Another run is writing {path} at this moment. Wait for it to end, or give another folder with -o."
OUTPUT_TAKEN = (
    "{path} was written by another run or program in the meantime; it was left as it is, and this run wrote nothing. "
    "Give another folder with -o, or run again with --overwrite."
)
NO_LOCKS = (
    "The file system of {path} has no file locks, so the run goes on without: do not start two runs into one folder, "
    "and should this one be killed, clear away what it leaves beside it (.{name}.edge-pigment-*)."
)
NAME_TOO_LONG = (
    "{name} would have {length} bytes; file names here have up to {most}. Give the scan or the output folder a shorter "
    "name, or write to another disk."
)
PATH_TOO_LONG = (
    "Paths below {path} would have up to {length} bytes; the system takes less than {most}. Give a place with a "
    "shorter path with -o."
)
NAME_SHORTENED = "{name} is too long for the names of results; they begin with {prefix}."
DISK_NEARLY_FULL = (
    "{path} has {free} free and the result takes up to {needed}, mostly far less. If the disk fills up, nothing is "
    "written."
)
DISK_TOO_FULL = (
    "Not enough disk space for {path}: the result takes about {needed}, and {free} is free. Make room, or give a place "
    "on another disk with -o."
)
NO_INODES = (
    "{path} cannot be written: the file system takes {free} more files (inodes), and {needed} are needed. Remove "
    "files, or give a place on another disk with -o."
)
DISK_FULL = "The disk is full ({why}); nothing was written. Make room, or give a place on another disk with -o."
FILE_SYSTEM = "{path}: {why}. Nothing was written."
FILE_SYSTEM_UNNAMED = "The file system refuses: {why}. Nothing was written."

# --- memory -------------------------------------------------------------------------------------------------
NO_MEMORY = (
    "Not enough memory ({why}). Close other programs, run fewer scans at once, or raise the limit (ulimit -v, or that "
    "of the job or container)."
)
NO_THREADS = (
    "The system starts no more threads. Give --threads 1, close other programs, or raise the limit (ulimit -u, or that "
    "of the job or container)."
)
MEMORY_FOR_SCAN = "{scan} needs about {needed}, and {free} can be had"
MEMORY_LIMIT = "edge-pigment needs at least {needed} of address space, and the limit is {free}"

# --- command line -------------------------------------------------------------------------------------------
UNEXPECTED = (
    "unexpected {kind}: {message} (this is a fault of edge-pigment; set EDGE_PIGMENT_DEBUG=1 for the "
    "traceback and report it)"
)
OUTPUT_STREAM = "What there is to say cannot be written: {why}. {outcome}"
OPTION_NEEDS_FOLDER = "{option} selects from a BIDS folder, and {path} is not a folder."
OPTION_NEEDS_FILE = "{option} belongs to one scan, and {path} is a folder; give the scan itself."
OPTION_OUT_OF_RANGE = "{option} must be {expected}, not {value}."
NAMES_COLLIDE = "{first} and {second} would have results of the same name. Run them one by one into two folders."
SETTINGS_UNREADABLE = "The settings {path} cannot be read as JSON: {why}."
SETTINGS_WRONG = "The setting {where} makes no sense: {why}."
WORKSHOP_MISSING = (
    "Exporting needs the workshop, which is not installed ({why}). In a checkout of the repository: "
    'pip install -e ".[workshop]"'
)

# --- brain mask ---------------------------------------------------------------------------------------------
MASK_WITHOUT_OPENING = (
    "The brain could not be told apart from the tissue around it; the mask holds the largest bright "
    "region. Give a mask of your own with --mask."
)
MASK_FAILED = (
    "No brain was found; all voxels with signal ({percent:.0f} % of the image) are used. Give a mask of "
    "your own with --mask."
)
MASK_WITHOUT_AIR = (
    "There is hardly any air in the image, so the mask holds all that has signal, brain or not. Give a mask of your "
    "own with --mask if that is too much."
)
MASK_LEAVES_OUT = (
    "The brain mask leaves out {percent:.0f} % of what is as bright as brain. Look at it, and give a mask of your own "
    "with --mask if brain is missing."
)

# --- compiled kernels ---------------------------------------------------------------------------------------
HOST_LIBRARY_MISSING = (
    "The compiled kernels do not load from {path} ({why}). Install edge-pigment with pip on this machine, with a "
    "C++ compiler (g++ or clang++)."
)
HOST_ISA_UNKNOWN = (
    "{variable}={wanted}: this machine has no such instruction set. Unset it, or choose from: {available}."
)

# --- GPUs: why there is none, in CUDA_UNAVAILABLE ---
CUDA_NO_PYCUDA = "PyCUDA cannot be imported ({why}); pip install pycuda, with the CUDA toolkit and NVIDIA's driver here"
CUDA_NO_DRIVER = "NVIDIA's driver is not installed ({why})"
CUDA_NO_DEVICE = "no GPU number {index} (the driver sees {count})"
CUDA_NO_FATBIN = (
    "no code for {device} (sm_{sm}): there is code for {have}, made by CUDA {toolkit}, which needs a driver as new; "
    "with nvcc on the path it would be compiled here ({why})"
)
CUDA_NOT_COMPILED = "{nvcc} does not compile the kernels for sm_{sm}: {why}"
CUDA_NO_MEMORY = "the GPU has {free:.1f} MiB to spare, and {needed:.1f} MiB is the least that is needed"
CUDA_ERROR = "the GPU's driver says: {why}"
CUDA_WRONG = "the GPU computes something else than the CPU ({what} differs by {error:.2g})"
GPU_FAILED = "The GPU failed ({why}); the scan was finished on the CPU, with the same result."

# --- what is no measurement (volumes count from 0, in the scan as it was given) ---
VALUES_LOST = (
    "In {percent} % of the head some volumes ({volumes}) hold no measurement but zeros, negative or missing values, as "
    "a correction of motion or eddy currents leaves them where it moved the head out of view, or as a lost slice is "
    "stored. They have no weight."
)
VALUES_CLIPPED = (
    "In {percent} % of the head the signal is saturated: one and the same highest value stands there in volume "
    "{volumes}, so the true one is unknown. These values have no weight, and voxels without any other at b=0 are left "
    "out. Lower the receiver gain, or convert the images without clipping."
)
VOXELS_WITHOUT_MEASUREMENT = (
    "{percent} % of the head has no measurement left at b=0, or none at all with diffusion weighting, and is left out."
)

LOWEST_B_IS_B0 = (
    "No volume is at b = 0: those of b = {lowest:g} to {highest:g} s/mm² stand for it, with their own b in the model "
    "(--b0-threshold says otherwise)."
)
HIGH_B_LEFT_OUT = (
    "Volume {volumes} ({count} in all, b = {bvals} s/mm²) is left out: a tensor holds at low b only, and over "
    "all of them MD would come out too low. The maps are of the volumes up to b = {highest:.0f}."
)
HIGH_B_BIASED = (
    "The tensor rests on volumes of b = {highest:.0f} s/mm², where it no longer holds: MD comes out too low by 10 to "
    "30 %, more than its deviation says. For MD and FA measure at b = 700 to 1500."
)

# --- volumes that are no measurement of their own (volumes count from 0) -------------------------------------
VOLUMES_COPIED = "Volume {volumes} (from 0) is a copy of volume {of}; it was left out."
VOLUMES_COPIED_UNLIKE = (
    "Volume {volumes} (from 0) is a copy of volume {of} with another b-value or direction in the gradient table; it "
    "was left out. Check which of the two is right (that of volume {of} was taken)."
)
VOLUME_AVERAGED = "Volume {volumes} (from 0) is the mean of volumes {of}; it was left out."
VOLUME_TRACE = "Volume {volumes} (from 0) is the geometric mean (trace image) of volumes {of}; it was left out."
VOLUMES_COMPUTED = (
    "Volume {volumes} (from 0) was computed from the other volumes (an ADC or MD map); it is no measurement and was "
    "left out."
)
VOLUMES_OF_MAPS = (
    "Volume {volumes} (from 0) does not look like a signal, but like a map that was computed from the others (FA or "
    "alike); it was left out. Leave maps out of the image, the .bval and the .bvec file."
)
VOLUMES_SMOOTHED = (
    "Volume {volumes} (from 0) seems to be filtered (smoothed or resampled): it lacks fine noise that other volumes of "
    "its b-value have. It was left out."
)
VOLUMES_RESAMPLED = (
    "Volume {volumes} (from 0) shares the noise of volume {of} and seems to be a resampled copy (of a motion-corrected "
    "series); it was left out. Give the original or the corrected series, not both."
)
NOTHING_MEASURED = "{said} What is left is no diffusion scan: {why}"

# --- the quality of a scan (volumes and slices count from 0) ------------------------------------------------
VOLUMES_OUTLYING = "Volume {volumes} is of another brightness than its like ({percent} %)."
LEAVE_VOLUMES_OUT = "Leave it out of the image, .bval and .bvec, and run again."
TOO_FEW_WITHOUT = "Without it only {kept} independent directions (six are needed) or no b=0 would be left."
ADC_IMPLAUSIBLE = (
    "The mean diffusivity of the brain comes out as {adc:.2f} x 10⁻³ mm²/s, which no brain has: b=0 and "
    "diffusion-weighted volumes are of different brightness, or the b-values are wrong."
)
SLICES_DROPPED = "Signal dropout or a spike in {count} slice(s) (volume/slice: {places}); the maps are wrong there."
VOLUMES_SWAPPED = (
    "Volumes {pairs} seem to be exchanged: the scan makes more sense the other way round (by {lead:.0f} standard "
    "errors). FA and directions are wrong; check the order of volumes against .bvec."
)
SWAPPED_OR_MOVED = (
    "Volumes {pairs} look exchanged, too (by {lead:.0f} standard errors); motion alone may make them look so. Check "
    "the order of volumes against .bvec."
)
MOVED = (
    "The head moved, or the image was shifted by eddy currents, by {mm:.1f} mm ({degrees:.1f} degrees) between volumes "
    "(volumes {volumes} against the rest)."
)
MOVED_BY_EDDY_CURRENTS = (
    "Nearly all of it is along one axis, as eddy currents do it, and repeating the scan may not help: correct the "
    "volumes for eddy currents and motion before use; edges and thin tracts are blurred."
)
MOVED_TOO_FAR = "Different tissue lies in one voxel's measurements."
MOVED_SOMEWHAT = "Register the volumes before use; edges and thin tracts are blurred."
MISFIT = (
    "The measurements differ from any tensor by {times:.1f} times what noise explains: motion, artefacts, b so high "
    "that a tensor does not hold, or a noise level that is too low. Deviations are too small."
)
SNR_TOO_LOW = "The b=0 image has an SNR of {snr:.1f}: the maps are mostly the prior's."
SNR_LOW = "The b=0 image has an SNR of {snr:.1f}: FA leans on the prior; see the maps of sd and data share."
MASK_VOLUME = (
    "The brain mask holds {ml:.0f} ml, which no brain has ({low:.0f} to {high:.0f}). Check it, or give one with --mask."
)
SMALL_SUBJECT = (
    "The image is {mm:.1f} mm wide, too small for a human head. The prior knows adult human brains only: of an animal "
    "or a specimen read nothing that leans on it (see the map of data share)."
)
UNIFORM_SUBJECT = (
    "This seems to be a phantom and no brain: what the mask holds varies by {percent:.0f} % only. The prior knows "
    "human brains only: of a phantom read MD, and FA only where the map of data share is near 1."
)
FEW_DIRECTIONS = (
    "The directions determine {rank} of a tensor's 6 elements: the rest of FA and of the fibres' direction comes from "
    "the prior, as the map of data share shows."
)
TRACE_IMAGES = (
    "Volume {volumes} (from 0) has no direction and is taken for a trace image, the geometric mean of three orthogonal "
    "directions. If it was measured along a direction, mend the .bvec file."
)
TRACE_ONLY = (
    "No direction was measured: S0 and MD come from the scan. FA, AD, RD, the tensor and V1 are the prior's guess from "
    "MD and the surroundings: do not read them. FA of white matter comes out too low, V1 is off by 30 degrees and "
    "more, and their deviations are too small."
)
DIRECTIONS_UNEVEN = (
    "The directions are unevenly spread (condition number {condition:.0f}): one part of the tensor is hardly measured."
)
WITHOUT_B0 = "There is no b=0 volume: the signal without diffusion weighting comes from the prior."
ONE_B0 = "There is one b=0 volume; a fault in it cannot be told from the anatomy, save a wrong brightness."
ONE_SHELL = "One b-value: a tensor can be found, kurtosis and NODDI cannot."
NO_SPARE_DIRECTIONS = "Six directions: no measurement is left to check another by."

# --- where the network runs ---
NETWORK_UNKNOWN = "--network {network!r} is not known; choose from {known}."
PROVIDER_MISSING = (
    "--network {network} needs ONNX Runtime's {provider}, which is not in the one installed (it has {have}). Install "
    "onnxruntime-gpu in place of onnxruntime, or leave --network out."
)
PROVIDER_FAILED = (
    "--network {network}: ONNX Runtime's {provider} does not start here ({why}). `edge-pigment doctor` says what is "
    "missing; --network cpu needs none of it."
)

# --- TensorRT engines ---------------------------------------------------------------------------------------
TENSORRT_MISSING = (
    "TensorRT's Python bindings cannot be imported ({why}). On a Jetson they come with JetPack (python3-libnvinfer); "
    "elsewhere: pip install tensorrt. Without them the prior runs in ONNX Runtime."
)
ENGINE_NO_GPU = "An engine is built on the GPU that runs it, and there is none here: {why}."
ENGINE_FLAVOUR = "The {flavour} flavour is not for TensorRT; choose from {known}."
ENGINE_REFUSED = "TensorRT {version} refuses the network: {why}."
ENGINE_MISSING = "No {precision} engine was built for this bundle on this machine. Build it: {command}"
ENGINE_STALE = "The engine in the cache was made by {made}; here is {here}. Build it anew: {command}"
ENGINE_UNFIT = "The engine made by {made} is of no use here: {why}. Build it anew: {command}"
ENGINE_SHAPE = (
    "The engine takes slices of up to {largest}, and the scan needs {shape} (slices, channels, rows, columns). Use "
    "--network cpu."
)
ENGINE_WRONG = (
    "The engine built by {made} makes other maps than ONNX Runtime does ({found}) and was thrown away. Use --network "
    "cpu, or another --precision, and report it."
)
NETWORK_ON_CPU = "The context prior runs on the CPU: {why}"
NETWORK_FAILED = "The engine failed ({why}); the context prior was finished on the CPU."
ENGINE_DAMAGED = "The engine at {path} is damaged. Build it anew: {command}"

# --- watching a scan arrive ---------------------------------------------------------------------------------
WATCH_FOLDER_MISSING = "There is no folder at {path} to watch. Give the folder that the scanner writes volumes into."
WATCH_GRIDS_DIFFER = (
    "{path} has another grid than {other}: volumes of two scans lie in one folder. Watch a folder that holds one scan."
)
WATCH_MOVING = (
    "The header's position changes between volumes, by up to {mm:.1f} mm. Scanners do so that follow the head (PACE); "
    "the volumes are laid over one another voxel by voxel. If nothing followed the head, two scans lie in one folder."
)
WATCH_NO_TABLES = "{name} has no .bval and no .bvec file and is passed over until it has both."
WATCH_PORT = "No page can be served at port {port}: {why}. Give another --port, 0 for any, or -1 for none."
