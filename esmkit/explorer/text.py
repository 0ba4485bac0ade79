"""Text from files on its way into a page: nothing in it may act, and nothing in it may hide."""

__all__ = []
