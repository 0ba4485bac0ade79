"""The model in the page: what runs an encoder inside a browser, without a network.

``weights`` packs an encoder into few bytes, ``engine`` gives the scripts and the kernel that run it;
these are in ``static`` and, in C, in ``kernel``.
"""
