"""Adam: from gradients to better parameters.

Sources: [1] Kingma and Ba 2015, arXiv:1412.6980 (Adam). [2] Loshchilov and Hutter 2019,
arXiv:1711.05101 (weight decay apart from the gradient). [3] Pascanu et al. 2013, arXiv:1211.5063
(clipping the norm of the gradient). [4] Loshchilov and Hutter 2017, arXiv:1608.03983 (a rate that
falls like a cosine).
"""

import math
from typing import TypeVar

import numpy as np

from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import above_zero, at_least
from esmkit.reference.encoder import Array
from esmkit.reference.training.tree import tree_arrays, tree_map

__all__ = ["Adam", "clip_gradients", "learning_rate"]

Tree = TypeVar("Tree")


class Adam:
    """Adam ([1], algorithm 1): each parameter steps by its mean gradient over its usual size.

    With g the gradient, ``m = b1 m + (1 - b1) g`` and ``v = b2 v + (1 - b2) g^2``, both divided by
    ``1 - b^t`` since they begin at 0, a parameter moves by ``-rate * m / (sqrt(v) + eps)``: by about
    the rate, whatever the size of its gradients.

    Parameters
    ----------
    rate : float
        Learning rate, above 0.
    first, second : float
        b1 and b2, from 0 up to 1; [1] has 0.9 and 0.999.
    eps : float
        Keeps the step small where gradients are.
    decay : float
        Weight decay ([2]): the share, times the rate, by which every matrix shrinks at a step.
        Vectors (biases, gains) do not.

    Raises
    ------
    OptionError
        If a number is outside these bounds.

    References
    ----------
    [1] Kingma and Ba 2015, Adam: A Method for Stochastic Optimization, arXiv:1412.6980.
    [2] Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, arXiv:1711.05101.

    Examples
    --------
    >>> adam, x = Adam(0.1), {"x": np.array([1.0, -2.0])}
    >>> for _ in range(200):
    ...     x = adam.step(x, {"x": 2 * x["x"]})                           # of x^2, lowest at 0
    >>> bool(np.abs(x["x"]).max() < 1e-3)
    True
    """

    def __init__(
        self,
        rate: float,
        *,
        first: float = 0.9,
        second: float = 0.999,
        eps: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        if not (rate > 0 and 0 <= first < 1 and 0 <= second < 1 and eps > 0 and decay >= 0):
            raise OptionError(
                f"Adam with rate {rate}, first {first}, second {second}, eps {eps}, decay {decay}: "
                "rate and eps are above 0, first and second from 0 up to 1, decay is not negative"
            )
        self.rate: float = rate
        self.first: float = first
        self.second: float = second
        self.eps: float = eps
        self.decay: float = decay
        self.steps: int = 0
        self._moments: list[tuple[Array, Array]] = []

    def step(self, parameters: Tree, gradients: Tree, rate: float | None = None) -> Tree:
        """Return the parameters after one step; those given stay as they are.

        Parameters
        ----------
        parameters, gradients : trees of one form
            Dataclasses, dicts, tuples or lists of arrays, nested in any way.
        rate : float, optional
            The rate of this step, for a schedule; by default that of the optimizer.

        Returns
        -------
        tree
            Of the form of the parameters.

        Raises
        ------
        InputError
            If the trees differ in form or shapes, or a parameter is of whole numbers.
        """
        rate = self.rate if rate is None else rate
        for name, array in tree_arrays(parameters).items():
            if not np.issubdtype(array.dtype, np.floating):
                raise InputError(f"{name} is {array.dtype}: Adam moves numbers with a fraction")
        self.steps += 1
        first, second = self.first, self.second
        if not self._moments:
            arrays = tree_arrays(parameters).values()
            self._moments = [(np.zeros_like(p), np.zeros_like(p)) for p in arrays]
        moments = iter(self._moments)
        # The two corrections of [1] as one factor and one eps, so that arrays are passed once
        share = math.sqrt(1 - second**self.steps)
        size, eps = rate * share / (1 - first**self.steps), self.eps * share

        def moved(p: Array, g: Array) -> Array:
            if p.shape != g.shape:
                raise InputError(f"a gradient {g.shape} for a parameter {p.shape}")
            m, v = next(moments)  # in the order of the tree
            m += (1 - first) * (g - m)
            v += (1 - second) * (np.square(g) - v)
            kept = 1 - rate * self.decay if p.ndim > 1 else 1.0
            return kept * p - size * m / (np.sqrt(v) + eps)

        return tree_map(moved, parameters, gradients)


def clip_gradients(gradients: Tree, largest: float) -> tuple[Tree, float]:
    """Shorten the gradient, taken as one long vector, if it is longer than allowed ([3]).

    Parameters
    ----------
    gradients : tree of arrays
    largest : float
        The greatest length.

    Returns
    -------
    tree
        The same, or scaled down.
    float
        The length it had.

    Raises
    ------
    OptionError
        If the greatest length is not above 0.

    References
    ----------
    [3] Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063.

    Examples
    --------
    >>> clip_gradients({"a": np.array([3.0, 4.0])}, 1.0)
    ({'a': array([0.6, 0.8])}, 5.0)
    """
    above_zero(largest=largest)
    squares = (np.square(array).sum(dtype=np.float64) for array in tree_arrays(gradients).values())
    length = math.sqrt(float(sum(squares)))
    if length <= largest:
        return gradients, length
    return tree_map(lambda array: array * (largest / length), gradients), length


def learning_rate(step: int, steps: int, peak: float, *, warm_up: int = 0) -> float:
    """Return the rate of a step: a line up to the peak, then a half cosine down to 0 ([4]).

    Parameters
    ----------
    step : int
        From 0.
    steps : int
        How many there will be.
    peak : float
    warm_up : int
        Steps of the line.

    Returns
    -------
    float

    Raises
    ------
    OptionError
        If a number is negative, or the step is after the last.

    References
    ----------
    [4] Loshchilov and Hutter 2017, SGDR, arXiv:1608.03983.

    Examples
    --------
    >>> [round(learning_rate(step, 8, 1.0, warm_up=2), 2) for step in (0, 1, 2, 5, 8)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    at_least(0, step=step, steps=steps, warm_up=warm_up)
    if step > steps:
        raise OptionError(f"step {step}: there are {steps}")
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return peak * 0.5 * (1 + math.cos(math.pi * share))
