"""How little an input must change for its prediction to change."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def margins(
    network: nn.Module,
    inputs: Tensor,
    *,
    farthest: float,
    candidates: int = 10,
    steps: int = 50,
    overshoot: float = 0.02,
) -> Tensor:
    """Length of the perturbation with which DeepFool changes the predicted class.

    Each step goes to the nearest border between the predicted class and another one, as far
    as the gradients tell: ``r = min_k |f_k - f_y| / |grad(f_k - f_y)|``, until the sum of
    the steps, made longer by `overshoot`, changes the prediction. Algorithm 2 of
    Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599, with its defaults. The length
    is that of the sum without the overshoot, so for a linear network it is the distance.

    Args:
        network: From `inputs` to (B, C) logits, each row on its own.
        inputs: (B, 3, H, W) normalised pixels, (B, D) vectors, or rows of any other shape.
        farthest: No length is greater; it is that of a row from which no gradient leads to
            another class within it.
        candidates: Classes, most probable first, whose borders are looked at, the predicted
            one among them.
        steps: Steps of a row at most. One that has not arrived by then has the length so far.
        overshoot: Share of the perturbation that is added to cross the border.

    Returns:
        (B,) lengths, >= 0; 0 where there is one class; NaN where the prediction is not finite.
    """
    with torch.no_grad():
        logits = network(inputs.clone())
    classes = logits.topk(min(candidates, logits.shape[1]), dim=1).indices
    finite = torch.softmax(logits.float(), dim=1).isfinite().all(dim=1)
    lengths = inputs.new_zeros(len(inputs))
    lengths[~finite] = torch.nan
    if classes.shape[1] == 1:
        return lengths
    moved = torch.zeros_like(inputs)
    rows = finite.nonzero()[:, 0]
    for _ in range(steps):
        points = inputs[rows] + (1 + overshoot) * moved[rows]
        distances, step = _step(network, points, classes[rows], farthest)
        lengths[rows[distances >= farthest]] = farthest
        moving = (distances > 0) & (distances < farthest)
        rows = rows[moving]
        if not len(rows):
            break
        moved[rows] += step[moving]
        lengths[rows] = moved[rows].flatten(1).norm(dim=1)
        with torch.no_grad():
            logits = network(inputs[rows] + (1 + overshoot) * moved[rows])
        rows = rows[logits.argmax(dim=1) == classes[rows, 0]]
        if not len(rows):
            break
    return lengths.clamp(max=farthest)


def _step(
    network: nn.Module, points: Tensor, classes: Tensor, farthest: float
) -> tuple[Tensor, Tensor]:
    """The distances to the nearest borders, at most `farthest`, and the steps that lead there."""
    points.requires_grad_()
    distances = points.new_full((len(points),), farthest)
    step = torch.zeros_like(points, requires_grad=False)
    column = (-1, *[1] * (points.ndim - 1))
    with torch.enable_grad():
        # A copy, because a network may change its input in place.
        logits = network(points.clone()).to(points.dtype).gather(1, classes)
        gaps = logits[:, :1] - logits[:, 1:]
    for gap in gaps.unbind(dim=1):
        (slope,) = torch.autograd.grad(gap.sum(), points, retain_graph=True)
        steepness = slope.flatten(1).norm(dim=1)
        distance = gap.detach().clamp(min=0) / steepness
        nearer = distance < distances  # without a slope it is infinite, or NaN on a border
        distances = torch.where(nearer, distance, distances)
        way = slope / steepness.view(column) * -distance.view(column)
        step = torch.where(nearer.view(column), way, step)
    return distances, step


def linear_margins(logits: Tensor, weight: Tensor) -> Tensor:
    """How little an embedding must change for a linear last layer to predict another class.

    ``min_k (f_y - f_k) / |w_y - w_k|``: DeepFool of a linear classifier, which is exact in
    one step. Section 2 of Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599.

    Args:
        logits: (B, C).
        weight: (C, D) the layer's weights, without its bias.

    Returns:
        (B,) lengths, >= 0; 0 where there is one class; infinite where no other class has
        weights of its own; NaN where the logits are not finite.
    """
    if logits.shape[1] == 1:
        return logits.new_zeros(len(logits))
    logits, weight = logits.double(), weight.double()
    predicted = logits.argmax(dim=1)
    gaps = logits.gather(1, predicted[:, None]) - logits
    # Rounding must not make a distance between equal rows.
    distances = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
    lengths = gaps / distances[predicted]
    own = torch.arange(logits.shape[1], device=logits.device) == predicted[:, None]
    # Where two classes have the same weights, the gap is that of their biases: it stays.
    same = (distances[predicted] == 0) & ~own
    lengths = lengths.masked_fill(own, torch.inf).masked_fill(same & (gaps > 0), torch.inf)
    lengths = lengths.masked_fill(same & (gaps == 0), 0)
    nearest = lengths.amin(dim=1)
    nearest[~logits.isfinite().all(dim=1)] = torch.nan
    return nearest.float()
