"""Steps of 1-Lipschitz networks against plain ones and deel-lip: `python benchmarks/lipschitz.py --peer PYTHON`.

`PYTHON` is the interpreter of an environment with deel-lip 1.5; see README.md.
"""

import argparse
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from table import markdown, ratios, spread, write_section
from turns import Worker, say, undisturbed

HERE = Path(__file__).parent
WORDS = {
    "plain": "plain convolutions",
    "hoplon": "hoplon, Newton-Schulz",
    "hoplon-cholesky": "hoplon, Cholesky",
    "deel-lip": "deel-lip",
}


def main() -> None:
    """Rounds over all contestants; ratios within a round, medians over rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="interpreter of the environment of deel-lip; without it, no peer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="training steps in a turn")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds a turn waits for quiet cores")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    asked = parser.parse_args()
    names = [name for name in WORDS if name != "deel-lip" or asked.peer]
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(HERE / "vggs.py", name, interpreter=asked.peer if name == "deel-lip" else sys.executable)
            )
            for name in names
        }
        text = report(measure(workers, asked), {name: worker.ask("facts") for name, worker in workers.items()}, asked)
    print(text)
    if asked.write:
        write_section(HERE / "README.md", "lipschitz", text)


def measure(workers: dict[str, Worker], asked: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Seconds of each turn, by contestant; every other round goes backwards."""
    first = {name: worker.ask("steps", count=2)["seconds"] for name, worker in workers.items()}
    say(", ".join(f"{name}: first two steps {seconds:.1f} s" for name, seconds in first.items()))
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for k in range(asked.rounds):
        for name in list(workers)[:: 1 if k % 2 == 0 else -1]:
            deadline = time.monotonic() + asked.patience
            turns[name].append(undisturbed(workers[name], "steps", deadline, count=asked.steps))
            say(f"round {k + 1}, {name}: {turns[name][-1]['seconds'] / asked.steps:.3f} s a step")
    for name, worker in workers.items():
        turns[name][-1]["peak"] = worker.ask("memory")["peak"]
    return turns


def report(turns: dict[str, list[dict[str, float]]], facts: dict[str, dict], asked: argparse.Namespace) -> str:
    """The table, with what it was measured on."""
    seconds = {name: [turn["seconds"] / asked.steps for turn in each] for name, each in turns.items()}
    rows = [
        (
            WORDS[name],
            f"{1000 * median(seconds[name]):.0f}",
            spread(ratios(seconds[name], seconds["plain"])),
            spread(ratios(seconds[name], seconds["hoplon"])),
            f"{max(turn['others'] for turn in turns[name]):.2f}",
            f"{turns[name][-1]['peak'] / 2**20:,.0f}",
            f"{facts[name]['weights']:,}",
        )
        for name in turns
    ]
    head = ("layers", "ms a step", "of plain", "of hoplon", "others at most, cores", "peak memory, MiB", "weights")
    versions = "; ".join(
        f"{WORDS[name]}: {', '.join(f'{k} {v}' for k, v in facts[name]['versions'].items())}"
        for name in ("hoplon", "deel-lip")
        if name in facts
    )
    return (
        "Small VGG (64, 64, 128, 128, 256), 32x32x3, batch 64, Adam, cross-entropy, TensorFlow.\n"
        f"{platform.machine()}, 2 threads each, no accelerator; {asked.rounds} rounds of {asked.steps} steps in one "
        f"run: medians, in brackets the smallest and largest of the rounds' own ratios.\n{versions}.\n\n"
        + markdown(head, rows)
    )


if __name__ == "__main__":
    main()
