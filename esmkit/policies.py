"""What can be asked of the embed and attention tasks, and how sequences too long for the model are cut.

Nothing here needs PyTorch, so that a bad option or a bad input is answered at once.
"""

__all__ = []
