"""The polynomial of GELU: erfc(z) exp(z^2) for z >= 0, in u = (z - 2) / (z + 2).

The map takes 0 to infinity onto -1 to 1, where the function is smooth; it is interpolated at the
zeros of a Chebyshev polynomial, whose largest error is close to the smallest that there can be.

    python -m esmkit.explorer.live.kernel.fit
"""

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import erfcx

__all__ = ["DEGREE", "coefficients"]

DEGREE = 11
"""Largest error of the function 3.2e-9, less than float32 resolves."""


def coefficients(degree: int = DEGREE) -> NDArray[np.float64]:
    """Return the coefficients of 1, u, u^2, ...

    Examples
    --------
    >>> u = (1.5 - 2) / (1.5 + 2)
    >>> round(float(np.polynomial.polynomial.polyval(u, coefficients()) * np.exp(-(1.5**2))), 6)
    0.033895
    """

    def of_u(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return erfcx(2 * (1 + u) / (1 - u))

    # NumPy's annotation knows functions of single numbers alone; it calls them with an array
    interpolated = chebyshev.chebinterpolate(of_u, degree)  # pyright: ignore
    return chebyshev.cheb2poly(interpolated)


if __name__ == "__main__":
    print(", ".join(f"{value:.10e}" for value in coefficients()))
