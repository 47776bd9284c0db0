"""The limits: the bare network, and the shortest loop that does the whole job.

    python -m benchmarks.ideal WEIGHTS PRECISION

Nothing of this project is in it. A question's ``what`` is ``bare`` for the network on random
pixels, ``loop`` for fetching, decoding and predicting on one thread a core, or ``parts`` for
the CPU seconds that each of the three takes alone, a photograph.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.channel import Question, answer, best

CORES = len(os.sched_getaffinity(0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCHES = (4, 8, 16, 32)
"""All divide 32: whoever asks for the bare network does so for a multiple of it."""

Pixels = NDArray[np.uint8]
Infer = Callable[[Pixels], NDArray[np.float32]]
"""(B, 224, 224, 3) pixels to (B, 1000) logits."""


def runtime(weights: str, precision: str) -> Callable[[], Infer]:
    """The fastest runtime that is installed; each call gives one for a thread of its own."""
    import torch
    from torchvision.models import resnet18

    network = resnet18()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    try:
        return _openvino(network, precision)
    except ImportError:
        return _torch(network, precision)


def _openvino(network: Any, precision: str) -> Callable[[], Infer]:
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.preprocess import PrePostProcessor

    # Not by way of `convert_model`, which tells its maker about every use.
    reader = FrontEndManager().load_by_framework("pytorch")
    with torch.inference_mode():
        decoder = TorchScriptPythonDecoder(_traced(network))  # must live until it is read
        model = reader.convert(reader.load(decoder))
    model.reshape([-1, 3, 224, 224])
    steps = PrePostProcessor(model)
    given = steps.input()
    given.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    given.model().set_layout(openvino.Layout("NCHW"))
    given.preprocess().convert_element_type(openvino.Type.f32).mean(
        [255 * one for one in MEAN]
    ).scale([255 * one for one in STD])
    compiled = openvino.Core().compile_model(
        steps.build(),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": CORES,
            "NUM_STREAMS": CORES,
        },
    )
    # Two threads that make the first call of a process at once wait for each other for ever.
    compiled.create_infer_request().infer([np.zeros((1, 224, 224, 3), np.uint8)])

    def another() -> Infer:
        request = compiled.create_infer_request()

        def infer(images: Pixels) -> NDArray[np.float32]:
            request.infer([images], share_inputs=True)
            return np.array(request.get_output_tensor(0).data)

        return infer

    return another


def _traced(network: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        example = torch.zeros(1, 3, 224, 224)
        return torch.jit.trace(network, example)  # type: ignore[no-untyped-call]


def _torch(network: Any, precision: str) -> Callable[[], Infer]:
    import torch

    torch.set_num_threads(1)
    network.to(memory_format=torch.channels_last)
    mean, std = 255 * torch.tensor(MEAN), 255 * torch.tensor(STD)

    def infer(images: Pixels) -> NDArray[np.float32]:
        low = precision != "fp32"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            pixels = ((torch.from_numpy(images) - mean) / std).permute(0, 3, 1, 2)
            return np.asarray(network(pixels).float().numpy())

    return lambda: infer


def fetch(uri: str, connection: HTTPConnection) -> bytes:
    """One photograph over a kept connection."""
    connection.request("GET", urlsplit(uri).path)
    return connection.getresponse().read()


def decode(data: bytes) -> Pixels:
    """The pixels that torchvision's own preprocessing makes, before it normalises them."""
    with Image.open(BytesIO(data)) as image:
        picture = image.convert("RGB")
    width, height = picture.size
    scale = 256 / min(width, height)
    size = (max(256, int(width * scale)), max(256, int(height * scale)))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def uncertainty(logits: NDArray[np.float32]) -> list[float]:
    """1 minus the probability of the likeliest class."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return (1 - 1 / exponent.sum(1)).tolist()  # type: ignore[no-any-return]


def loop(uris: Sequence[str], another: Callable[[], Infer], batch: int) -> list[float]:
    """Scores of all photographs, by one thread a core, each of which does everything."""
    parts = [range(start, min(start + batch, len(uris))) for start in range(0, len(uris), batch)]
    scores = [0.0] * len(uris)
    left = iter(parts)

    def work() -> None:
        infer, connection = another(), HTTPConnection(urlsplit(uris[0]).netloc)
        for rows in left:  # shared: a thread takes the next micro-batch when it has done one
            images = np.stack([decode(fetch(uris[row], connection)) for row in rows])
            scores[rows.start : rows.stop] = uncertainty(infer(images))
        connection.close()

    with ThreadPoolExecutor(CORES) as threads:
        for done in [threads.submit(work) for _ in range(CORES)]:
            done.result()
    return scores


def bare(items: int, another: Callable[[], Infer], batch: int) -> None:
    """So many random pictures through the network, in whole micro-batches."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 224, 224, 3), np.uint8)
    left = iter(range(-(-items // batch)))

    def work() -> None:
        infer = another()
        for _ in left:
            infer(images)

    with ThreadPoolExecutor(CORES) as threads:
        for done in [threads.submit(work) for _ in range(CORES)]:
            done.result()


def parts(uris: Sequence[str], another: Callable[[], Infer], batch: int) -> dict[str, float]:
    """CPU seconds that fetching, decoding and predicting take, a photograph, one by one."""
    connection = HTTPConnection(urlsplit(uris[0]).netloc)
    started = time.process_time()
    files = [fetch(uri, connection) for uri in uris]
    fetched = time.process_time()
    images = np.stack([decode(data) for data in files])
    decoded = time.process_time()
    infer = another()
    for start in range(0, len(images), batch):
        infer(images[start : start + batch])
    seconds = (fetched - started, decoded - fetched, time.process_time() - decoded)
    names = ("fetch", "decode", "infer")
    return {name: one / len(uris) for name, one in zip(names, seconds, strict=True)}


def fastest(another: Callable[[], Infer]) -> int:
    """The batch size with which the bare network is fastest here."""

    def seconds(batch: int) -> float:
        bare(batch, another, batch)
        started = time.perf_counter()
        bare(64, another, batch)
        return time.perf_counter() - started

    return min(BATCHES, key=seconds)


def main() -> None:
    another = runtime(sys.argv[1], sys.argv[2])
    batch = fastest(another)

    def ask(question: Question) -> Any:
        if question["what"] == "bare":
            return bare(question["items"], another, batch)
        if question["what"] == "parts":
            return parts(question["uris"], another, batch)
        return best(loop(question["uris"], another, batch), question["budget"])

    answer(ask)


if __name__ == "__main__":
    main()
