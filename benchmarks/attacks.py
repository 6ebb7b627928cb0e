"""Whole attacks against their peers: AutoAttack, Carlini and Wagner, DeepFool, and batches that wait.

    python benchmarks/attacks.py --data FOLDER [--rounds 3] [--patience SECONDS] [--write]

Every contestant lives in a process of its own and works when it is its turn. AutoAttack runs once, after a first
call on a few images; the others in rounds.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import table
from attackers import BATCH, CANDIDATES, EPS, NETS, OVERSHOOT, ROUNDS, SEARCH, STEP, STEPS, THREADS, WALK
from turns import Answer, Worker, require_same_net, say, trained, undisturbed

HERE = Path(__file__).parent
OURS, TORCHATTACKS, FOOLBOX, WAITING = (
    "hoplon",
    "torchattacks",
    "foolbox, TensorFlow",
    "a batch waits for its slowest image",
)
PACKAGES = ("hoplon", "keras", "tensorflow_cpu", "torch", "foolbox", "torchattacks")

Given = dict[str, list[Answer]]


def compare(
    workers: Sequence[Worker], attack: str, net: str, count: int, rounds: int, deadline: float, warm: int
) -> Given:
    """The answers of each round, by contestant; one call on `warm` images first, which compiles."""
    answers: Given = {w.name: [] for w in workers}
    for worker in workers:
        worker.ask("attack", name=attack, net=net, count=warm)
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else reversed(workers):
            answer = undisturbed(worker, "attack", deadline, name=attack, net=net, count=count)
            answers[worker.name].append(answer)
            say(f"{attack}, {net}, {i + 1}: {worker.name} {answer}")
    return answers


def rows_of(answers: Given, *cells: Callable[[Answer], str]) -> list[list[str]]:
    """A row for each contestant: seconds, ratio, disturbance, then the cells of its last answer."""
    seconds = {name: [a["seconds"] for a in given] for name, given in answers.items()}
    return [
        [
            name,
            table.spread(seconds[name]),
            table.spread(table.ratios(seconds[name], seconds[OURS])),
            f"{max(a['others'] for a in given):.2f}",
            *(cell(given[-1]) for cell in cells),
        ]
        for name, given in answers.items()
    ]


HEAD = ["who", "seconds", "hoplon is faster by", "others at most, cores"]


def standing(count: int) -> Callable[[Answer], str]:
    """Robust accuracy, in images and as a share."""
    return lambda a: f"{a['standing']} ({a['standing'] / count:.1%})"


def distance_table(answers: Given) -> str:
    """For attacks of minimum norm."""
    cells = (lambda a: f"{a['distance']:.4f}", lambda a: str(a["standing"]), lambda a: f"{a['gradients']:.0f}")
    head = [*HEAD, "median L2 of the successes", "failures", "gradients an image"]
    return table.markdown(head, rows_of(answers, *cells))


def measure(folder: Path, asked: Any) -> dict[str, str]:
    """All tables, by title."""
    deadline = time.monotonic() + asked.patience
    with ExitStack() as stack:
        ours, peer, fool, wait = (
            stack.enter_context(Worker(HERE / "attackers.py", name, str(folder)))
            for name in (OURS, TORCHATTACKS, FOOLBOX, WAITING)
        )
        for worker in (ours, peer, fool, wait):
            require_same_net(worker)
        tables = {}
        for attack, title in (("cw", f"Carlini and Wagner, L2, {ROUNDS} x {SEARCH}"), ("deepfool", "DeepFool, L2")):
            given = compare((ours, fool), attack, "plain", BATCH, asked.rounds, deadline, BATCH)
            tables[f"{title}: {BATCH} images of the plain net"] = distance_table(given)
        given = compare((ours, wait), "first success", "plain", asked.stop, asked.rounds, deadline, BATCH)
        cells = (standing(asked.stop), lambda a: f"{a['gradients']:.1f}")
        tables[f"PGD to the first success: {asked.stop:,} images of the plain net, batches of {BATCH}"] = (
            table.markdown([*HEAD, "standing", "gradients an image"], rows_of(given, *cells))
        )
        for net in NETS:
            given = compare((ours, peer), "autoattack", net, asked.count, 1, deadline, asked.warm)
            tables[f"AutoAttack, standard: {asked.count} images of the {net} net"] = table.markdown(
                [*HEAD, "standing"], rows_of(given, standing(asked.count))
            )
    return tables


def report(tables: dict[str, str], accuracy: dict[str, float], rounds: int) -> str:
    """What was measured, on what, with what."""
    packages = ", ".join(f"{p.replace('_', '-')} {version(p)}" for p in PACKAGES)
    nets = ", ".join(f"{name} {share:.1%}" for name, share in accuracy.items())
    said = [
        f"Linf, eps {EPS}: AutoAttack as published; PGD of {STEPS} steps of {STEP}, random start. DeepFool of at most "
        f"{WALK} steps, {CANDIDATES} candidates, overshoot {OVERSHOOT}. Clean accuracy of the nets: {nets}.",
        f"{os.cpu_count()} {platform.machine()} CPU cores, {THREADS} threads each, no accelerator; {rounds} rounds in "
        "one run, AutoAttack one: medians, in brackets the smallest and largest of the rounds' own ratios.",
        f"Python {platform.python_version()}, {packages}.",
    ]
    return "\n\n".join(["\n".join(said), *(f"**{title}**\n\n{text}" for title, text in tables.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=500, help="images for AutoAttack")
    parser.add_argument("--warm", type=int, default=64, help="images of AutoAttack's first call")
    parser.add_argument("--stop", type=int, default=2048, help="images to attack to the first success")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for a quiet machine, in all")
    parser.add_argument("--nets", type=Path, help="folder to keep the trained nets in, for the next run")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.nets or Path(temporary)
        accuracy = {net: trained(asked.data, folder / net, robust=net == "robust") for net in NETS}
        text = report(measure(folder, asked), accuracy, asked.rounds)
    print(text)
    if asked.write:
        table.write_section(HERE / "README.md", "attacks", text)


if __name__ == "__main__":
    main()
