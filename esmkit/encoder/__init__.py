"""Weights to hidden states and attention maps: checkpoints, and one forward pass."""
