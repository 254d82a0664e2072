"""Turns the prior's weights into a bundle: ONNX, verified against torch, with a manifest and hashes."""
