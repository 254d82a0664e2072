"""Files into numbers: NIfTI images of every kind, tables of numbers, masks, BIDS datasets.

`run` and `watch` read through the same functions. Nothing here knows of diffusion but `bids`; whatever is wrong with a
file ends in one `InputError`.
"""
