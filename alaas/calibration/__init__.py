"""Class probabilities that mean what they say: how far they are off, and how to scale them.

Example:
    >>> import numpy as np
    >>> probs = np.array([[0.95, 0.05]] * 20)  # says 95 %, and is right in 15 of 20
    >>> labels = np.array([0] * 15 + [1] * 5)
    >>> fitted = fit("temperature", probs, labels)
    >>> fitted(probs)[0].round(2)
    array([0.75, 0.25])
    >>> round(reliability(probs, labels).error, 2), round(nll(fitted(probs), labels), 2)
    (0.2, 0.56)
"""

from alaas.calibration.reliability import Reliability, classwise, plot, reliability
from alaas.calibration.scaling import (
    METHODS,
    Calibration,
    Dirichlet,
    Temperature,
    fit,
    nll,
    unfit,
)

__all__ = [
    "METHODS",
    "Calibration",
    "Dirichlet",
    "Reliability",
    "Temperature",
    "classwise",
    "fit",
    "nll",
    "plot",
    "reliability",
    "unfit",
]
