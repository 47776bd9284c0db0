"""Items whose label would change the model most, or that change their class most easily.

The gradients and margins are views that the model gives; here they only become scores.
"""

from __future__ import annotations

import numpy as np

from alaas.core.arrays import Grads, Margins, Probs, Scores
from alaas.strategies.registry import strategy


@strategy(
    family="model_change",
    aliases=("EGL", "ExpectedGradientLength"),
    cost="O(N C)",
    paper="Settles, Craven & Ray 2008",
    use="Where a few labels should move the model far: uncertain items with strong features.",
    floor=0.0,
)
def expected_gradient_length(probs: Probs, grads: Grads) -> Scores:
    """How long a training gradient the item's label is expected to cause.

    ``u(x) = sum_y p_y(x) |g_y(x)|``, with g_y the gradient of the loss with respect to the
    weights and biases of the last layer, if y were the label.

    The paper takes the gradient with respect to all parameters; that of the last layer needs
    no backward pass for each class.

    Args:
        probs: (N, C) class probabilities.
        grads: (N, C) length of the gradient that each class would cause.

    Returns:
        (N,) a length in the units of the loss over those of the weights, at least 0, which it
        is where the model is certain and would be right.

    Example:
        >>> expected_gradient_length(
        ...     np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[2.0, 4.0], [0.0, 9.0]]))
        array([3., 0.])
    """
    terms = np.multiply(probs, grads, dtype=np.float64, order="C")
    expected: Scores = terms.sum(axis=1)
    return expected


@strategy(
    family="model_change",
    aliases=("DeepFool", "DFAL", "AdversarialDeepFool"),
    cost="O(N)",
    paper="Ducoffe & Precioso 2018, arXiv:1802.09841",
    use="Items nearest to a decision border in what the model sees, where that can be afforded.",
)
def deep_fool(margins: Margins) -> Scores:
    """How small a change of the input would change the predicted class.

    ``u(x) = -|r(x)|``, with r the smallest perturbation that DeepFool finds to change the
    class, an upper bound of the distance to the decision border.

    The paper also adds the perturbed inputs to the training data, with the same labels; that
    is left to the training.

    Args:
        margins: (N,) Euclidean length of the perturbation.

    Returns:
        (N,) a length in input units, negated: 0 on a decision border, and falling without
        bound away from it.

    Example:
        >>> deep_fool(np.array([0.25, 0.0, 3.0]))
        array([-0.25,  0.  , -3.  ])
    """
    return np.subtract(0, margins, dtype=np.float64)  # a plain minus would make -0.0 of 0
