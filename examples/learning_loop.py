"""A whole active-learning loop on scikit-learn's digits, with a classifier of scikit-learn.

`alaas.strategies.run` works on arrays, whatever model made them. The loop starts with 20
labelled digits, labels 20 more in each round, and is compared with labelling at random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from alaas import strategies

ROUNDS, STEP, SEEDS = 5, 20, 3


def accuracies(strategy: str, seed: int) -> list[float]:
    """Accuracy on 597 held-out digits after each round, 0 to 1."""
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels / 16
    order = np.random.default_rng(seed).permutation(len(digits))
    held_out, pool = order[:597], order[597:]
    labelled, pool = pool[:STEP], pool[STEP:]
    curve = []
    for _ in range(ROUNDS):
        model = LogisticRegression(max_iter=200)
        model.fit(pixels[labelled], digits[labelled])
        curve.append(float(model.score(pixels[held_out], digits[held_out])))
        chosen = choose(model.predict_proba(pixels[pool]), strategy, seed)
        labelled, pool = np.append(labelled, pool[chosen]), np.delete(pool, chosen)
    return curve


def choose(probs: NDArray[np.float64], strategy: str, seed: int) -> NDArray[np.int64]:
    """The rows of the pool to label next."""
    ids = [str(row) for row in range(len(probs))]
    selection = strategies.run(strategy, {"probs": probs}, ids=ids, budget=STEP, seed=seed)
    return np.array(selection.ids, dtype=np.int64)


def main() -> None:
    print(f"{'digits labelled':<17}", *(f"{STEP * done:>6}" for done in range(1, ROUNDS + 1)))
    for strategy in ("MarginConfidence", "RandomSampling"):
        mean = np.mean([accuracies(strategy, seed) for seed in range(SEEDS)], axis=0)
        print(f"{strategy:<17}", *(f"{100 * one:5.1f}%" for one in mean))


if __name__ == "__main__":
    main()
