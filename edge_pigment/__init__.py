"""Quantitative diffusion MRI from sparse, noisy scans: a frozen prior, adapted to each voxel's measurements."""

__version__ = "0.1.0"
