"""A digital head with known truth: tissues, bending and crossing tracts, lesions."""

from edge_pigment.phantom.anatomy import TISSUES
from edge_pigment.phantom.head import LESIONS, Lesion, Phantom, label, make_phantom

__all__ = ["LESIONS", "TISSUES", "Lesion", "Phantom", "label", "make_phantom"]
