"""The ten lines that people write: one photograph after the other.

python naive_loop.py WEIGHTS
"""

from __future__ import annotations

import sys
from io import BytesIO

import requests
import torch
from channel import Question, answer, best
from network import build, transform
from PIL import Image

model, session = build(sys.argv[1]), requests.Session()


def ask(question: Question) -> list[int]:
    scores = []
    with torch.inference_mode():
        for uri in question["uris"]:
            image = Image.open(BytesIO(session.get(uri, timeout=60).content)).convert("RGB")
            scores.append(1 - model(transform(image)[None]).softmax(1).max().item())
    return best(scores, question["budget"])


answer(ask)
