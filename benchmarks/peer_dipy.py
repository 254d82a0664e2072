"""What a DIPY user would run: load, mask, weighted least squares, save FA, MD, V1. Started by `runtime.py`."""

import sys
from pathlib import Path

import numpy as np
from dipy.core.gradients import gradient_table
from dipy.io.gradients import read_bvals_bvecs
from dipy.io.image import load_nifti, save_nifti
from dipy.reconst.dti import TensorModel
from dipy.segment.mask import median_otsu

image, output = sys.argv[1], Path(sys.argv[2])
output.mkdir(parents=True)
stem = image.removesuffix(".nii.gz")
data, affine = load_nifti(image)
bvals, bvecs = read_bvals_bvecs(f"{stem}.bval", f"{stem}.bvec")
table = gradient_table(bvals, bvecs=bvecs)
masked, mask = median_otsu(data, vol_idx=np.flatnonzero(table.b0s_mask), median_radius=2, numpass=1)
fit = TensorModel(table, fit_method="WLS").fit(masked, mask=mask)
save_nifti(str(output / "FA.nii.gz"), fit.fa.astype(np.float32), affine)
save_nifti(str(output / "MD.nii.gz"), fit.md.astype(np.float32), affine)
save_nifti(str(output / "V1.nii.gz"), fit.evecs[..., 0].astype(np.float32), affine)
