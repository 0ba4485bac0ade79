"""Attention maps: in memory, to a file, to figures, and summed up in numbers."""
