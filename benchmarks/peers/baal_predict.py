"""Baal: `predict_on_dataset`, and its certainty heuristic.

python baal_predict.py WEIGHTS WORKERS
"""

from __future__ import annotations

import sys

from baal.active.heuristics import Certainty
from baal.modelwrapper import ModelWrapper, TrainingArgs
from channel import Question, answer
from network import Photographs, build
from torch import nn

network = nn.Sequential(build(sys.argv[1]), nn.Softmax(1))
options = TrainingArgs(batch_size=32, use_cuda=False, workers=int(sys.argv[2]))
wrapper = ModelWrapper(network, options)


def ask(question: Question) -> list[int]:
    network.eval()
    predictions = wrapper.predict_on_dataset(
        Photographs(question["paths"]), iterations=1, verbose=False
    )
    return [int(row) for row in Certainty()(predictions)[: question["budget"]]]


answer(ask)
