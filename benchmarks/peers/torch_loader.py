"""A DataLoader over files and a forward pass a batch.

python torch_loader.py WEIGHTS WORKERS
"""

from __future__ import annotations

import sys

import torch
from channel import Question, answer, best
from network import Photographs, build
from torch.utils.data import DataLoader

model, workers = build(sys.argv[1]), int(sys.argv[2])


def ask(question: Question) -> list[int]:
    loader = DataLoader(Photographs(question["paths"]), batch_size=32, num_workers=workers)
    with torch.inference_mode():
        scores = [1 - model(images).softmax(1).amax(1) for images, _ in loader]
    return best(torch.cat(scores).tolist(), question["budget"])


answer(ask)
