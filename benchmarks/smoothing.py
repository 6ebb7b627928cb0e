"""Randomised smoothing against its forward passes and its noise alone: `python benchmarks/smoothing.py [--write]`.

Each contestant lives in a process of its own and works when it is its turn; see README.md.
"""

import argparse
import platform
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from smoothers import BATCH, CONTESTANTS, IMAGES, NETS, THREADS
from table import markdown, ratios, spread, write_section
from turns import Answer, Worker, say, undisturbed

HERE = Path(__file__).parent
WORDS = {"bare": "noise, then a forward pass", "hoplon": "hoplon, smoothing"}
WARM = 2 * BATCH
NAMES = {"small": "Small CNN (32, 64), 28x28x1", "vgg": "Small VGG (64, 64, 128, 128, 256), 32x32x3"}

Turns = dict[str, list[Answer]]


def main() -> None:
    """Rounds over both contestants for each net; ratios within a round, medians over rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=20_000, help="samples in a turn of the small net")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds a turn waits for quiet cores")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    asked = parser.parse_args()
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(HERE / "smoothers.py", name)) for name in CONTESTANTS}
        counts = {"small": asked.samples, "vgg": max(4 * BATCH, asked.samples // 16)}
        turns = {net: measure(workers, net, counts[net], asked) for net in NETS}
        text = report(turns, workers["hoplon"].ask("facts"), asked)
    print(text)
    if asked.write:
        write_section(HERE / "README.md", "smoothing", text)


def measure(workers: dict[str, Worker], net: str, count: int, asked: argparse.Namespace) -> Turns:
    """Answers of each turn, by contestant; every other round goes backwards."""
    for worker in workers.values():
        worker.ask("sample", net=net, count=WARM)
    turns: Turns = {name: [] for name in workers}
    for k in range(asked.rounds):
        for name in list(workers)[:: 1 if k % 2 == 0 else -1]:
            deadline = time.monotonic() + asked.patience
            turns[name].append(undisturbed(workers[name], "sample", deadline, net=net, count=count))
            say(f"{net}, round {k + 1}, {name}: {turns[name][-1]['rate']:.0f} samples/s")
    return turns


def report(turns: dict[str, Turns], facts: Answer, asked: argparse.Namespace) -> str:
    """The table, with what it was measured on."""
    rows = []
    for net, given in turns.items():
        rate = {name: [turn["rate"] for turn in each] for name, each in given.items()}
        rows += [
            (
                NAMES[net],
                WORDS[name],
                f"{median(rate[name]):,.0f}",
                spread(ratios(rate[name], rate["bare"])),
                f"{max(turn['others'] for turn in given[name]):.2f}",
            )
            for name in WORDS
        ]
    head = ("net", "who", "samples/s", "of noise and forward pass", "others at most, cores")
    return (
        f"{IMAGES} images, batch {BATCH}, TensorFlow; {platform.machine()}, {THREADS} threads each, no accelerator; "
        f"{asked.rounds} rounds in one run: medians, in brackets the smallest and largest of the rounds' own ratios.\n"
        f"{', '.join(f'{k} {v}' for k, v in facts['versions'].items())}.\n\n" + markdown(head, rows)
    )


if __name__ == "__main__":
    main()
