"""PGD against its peers: gradients a second, seconds to the first success, memory.

    python benchmarks/pgd.py --data FOLDER [--rounds 5] [--patience SECONDS] [--write]

Every contestant lives in a process of its own and works when it is its turn, so all are measured in one run,
round after round, under the same weather. `--write` puts the tables into benchmarks/README.md.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median

import table
from contestants import BATCH, CONTESTANTS, EPS, STEP, STEPS, THREADS
from turns import Answer, Worker, require_same_net, say, trained, undisturbed

HERE = Path(__file__).parent
OURS = "hoplon"
STOPPERS = (OURS, "torchattacks", "torchattacks, channels last")  # who goes on to the first success
BARE = ("TensorFlow, one graph call a step", "TensorFlow, tf.while_loop")
MEMORY = (2048, 8192)
PACKAGES = ("hoplon", "keras", "tensorflow_cpu", "torch", "foolbox", "torchattacks", "adversarial-robustness-toolbox")

Rounds = dict[str, list[Answer]]


def take_turns(
    workers: Iterable[Worker], job: str, rounds: int, deadline: float, **options: int
) -> tuple[dict[str, float], Rounds]:
    """Seconds of everybody's first call, compilation and all; then the answers of each round."""
    workers = list(workers)
    first = {w.name: w.ask(job, **options)["seconds"] for w in workers}
    answers: Rounds = {w.name: [] for w in workers}
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else reversed(workers):
            answer = undisturbed(worker, job, deadline, **options)
            answers[worker.name].append(answer)
            say(f"{job} {i + 1}: {worker.name} {answer['seconds']:.2f} s, others {answer['others']:.2f} cores")
    return first, answers


def gradients_table(first: dict[str, float], answers: Rounds) -> str:
    """Who takes how many gradients a second, and how many times as many we take."""
    rate = {name: [STEPS * BATCH / a["seconds"] for a in given] for name, given in answers.items()}
    bare = max(BARE, key=lambda name: median(rate[name]))
    rows = [
        [name + (" (the bare loop)" if name == bare else ""), f"{median(rate[name]):,.0f}",
         table.spread(table.ratios(rate[OURS], rate[name])), f"{max(a['others'] for a in given):.2f}",
         f"{first[name]:.1f}", f"{median(a['success'] for a in given):.1%}"]
        for name, given in answers.items()
    ]  # fmt: skip
    head = ["who", "gradients/s", "hoplon is faster by", "others at most, cores", "first call, s", "success"]
    return table.markdown(head, rows)


def stop_table(answers: Rounds) -> str:
    """Seconds to the first success of every image, end to end."""
    seconds = {name: [a["seconds"] for a in given] for name, given in answers.items()}
    rows = [
        [name, table.spread(seconds[name]), table.spread(table.ratios(seconds[name], seconds[OURS])),
         f"{max(a['others'] for a in given):.2f}", f"{median(a['success'] for a in given):.2%}"]
        for name, given in answers.items()
    ]  # fmt: skip
    return table.markdown(["who", "seconds", "hoplon is faster by", "others at most, cores", "success"], rows)


def memory_table(answers: dict[int, Answer]) -> str:
    """What one attack needs besides the images that go in and come out."""
    rows = [[f"{n:,}", f"{a['images']:.0f}", f"{a['growth']:.0f}"] for n, a in answers.items()]
    return table.markdown(["images", "their size, MB", "growth of the peak, MB"], rows)


def measure(folder: Path, rounds: int, count: int, deadline: float) -> dict[str, str]:
    """All three tables, by title."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name, folder)) for name in CONTESTANTS}
        for worker in workers.values():
            require_same_net(worker)
        gradients = gradients_table(*take_turns(workers.values(), "gradients", rounds, deadline))
        _, stops = take_turns([workers[name] for name in STOPPERS], "stop", rounds, deadline, count=count)
    return {
        f"Gradients: {BATCH} images, all {STEPS} steps": gradients,
        f"To the first success: {count:,} images": stop_table(stops),
        "Memory of hoplon, to the first success": memory_table({n: _memory(folder, n) for n in MEMORY}),
    }


def _worker(name: str, folder: Path) -> Worker:
    return Worker(HERE / "contestants.py", name, str(folder))


def _memory(folder: Path, count: int) -> Answer:
    """In a fresh process, warmed up on two batches, so that what one measures the other has not used."""
    with _worker(OURS, folder) as worker:
        worker.ask("stop", count=2 * BATCH)
        return worker.ask("memory", count=count)


def report(tables: dict[str, str], accuracy: float, rounds: int) -> str:
    """What was measured, on what, with what."""
    packages = ", ".join(f"{p.replace('_', '-')} {version(p)}" for p in PACKAGES)
    said = [
        f"PGD, Linf, eps {EPS}, step {STEP}, {STEPS} steps, random start, batch {BATCH}; the net's accuracy is "
        f"{accuracy:.1%}.",
        f"{os.cpu_count()} {platform.machine()} CPU cores, {THREADS} threads each, no accelerator; {rounds} rounds in "
        "one run: medians, in brackets the smallest and largest of the rounds' own ratios.",
        f"Python {platform.python_version()}, {packages}.",
    ]
    return "\n\n".join(["\n".join(said), *(f"**{title}**\n\n{text}" for title, text in tables.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2048, help="images to attack to the first success")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for a quiet machine, in all")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    asked = parser.parse_args()
    say(f"load before the start: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        accuracy = trained(asked.data, Path(folder))
        text = report(
            measure(Path(folder), asked.rounds, asked.count, time.monotonic() + asked.patience), accuracy, asked.rounds
        )
    print(text)
    if asked.write:
        table.write_section(HERE / "README.md", "pgd", text)


if __name__ == "__main__":
    main()
