"""modAL: an `ActiveLearner` over skorch, with its uncertainty sampling.

modAL indexes the pool as an array, so the photographs are decoded into one first.

python modal_skorch.py WEIGHTS
"""

from __future__ import annotations

import sys

import numpy as np
from channel import Question, answer
from modAL.models import ActiveLearner
from modAL.uncertainty import uncertainty_sampling
from network import Photographs, build
from skorch import NeuralNetClassifier
from torch import nn

net = NeuralNetClassifier(
    nn.Sequential(build(sys.argv[1]), nn.Softmax(1)),
    criterion=nn.NLLLoss,
    batch_size=32,
    device="cpu",
    train_split=None,
    classes=list(range(1000)),
    verbose=0,
)
net.initialize()
learner = ActiveLearner(estimator=net, query_strategy=uncertainty_sampling)


def ask(question: Question) -> list[int]:
    images = Photographs(question["paths"])
    pool = np.stack([images[row][0].numpy() for row in range(len(images))])
    rows, _ = learner.query(pool, n_instances=question["budget"])
    return [int(row) for row in rows]


answer(ask)
