"""Weights to hidden states and attention maps: checkpoints, and one forward pass written out.

``forward`` is the pass, to be read from top to bottom, over the parameters of the ``EsmModel`` that
``network`` loads; ``packing`` lays sequences end to end and ``stream`` hands out attention maps as they
are made; ``operations`` are PyTorch's products and attention, ``blocks``, ``onednn`` and ``compiled`` faster
ones, which ``trial`` tries first; ``lm_head`` is the masked-LM head, which stands beside the network;
``encoder`` is the class that holds all of it. ``checkpoints`` says where
weights come from and what identifies them; ``names`` and ``devices`` what can be asked for.
"""
