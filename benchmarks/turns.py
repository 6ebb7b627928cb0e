"""Contestants in processes of their own that work one at a time, told to through pipes.

Two frameworks in one process fight for the cores with their thread pools; here everybody but the one whose
turn it is waits for a line on its standard input.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

Answer = dict[str, Any]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
AGREE = 1e-4  # by how much the logits of equal nets may differ
DISTURBED = 0.2  # cores busy with other programs that spoil a measurement


class Worker:
    """One contestant in a process that lives until the `with` block ends."""

    def __init__(self, script: Path, *arguments: str, interpreter: str = sys.executable) -> None:
        self.name = arguments[0]
        self._process = subprocess.Popen(
            [interpreter, str(script), *arguments], env={**QUIET, **os.environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.stdin.close()
        self._process.wait()

    def ask(self, job: str, **options: Any) -> Answer:
        """Have the job done now, and wait for its answer."""
        self._process.stdin.write(json.dumps({"job": job, "options": options}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended during {job}; what it said stands above.")
        return json.loads(line)


def require_same_net(worker: Worker) -> None:
    """End where a contestant's net is not the one that was trained."""
    difference = worker.ask("agree")["difference"]
    if not difference <= AGREE:
        raise SystemExit(f"The logits of {worker.name} must agree to {AGREE}. Received: {difference:.2g} apart.")
    say(f"{worker.name}: logits within {difference:.1g}")


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def trained(source: str, folder: Path, robust: bool = False) -> float:
    """Train a net in a process that ends, so that this one loads no framework; its accuracy."""
    code = "import sys; from pathlib import Path; import fashion; "
    code += "print(fashion.make(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == 'True'))"
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, source, str(folder), str(robust)],
        env={**QUIET, **os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def serve(jobs: dict[str, Callable[..., Answer]]) -> None:
    """Do the jobs that arrive, one line each, until the pipe closes.

    Standard output carries the answers alone: whatever a framework prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(jobs[request["job"]](**request["options"])), file=answers, flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, Answer]:
    """The result, the seconds it took, and how many cores other programs kept busy meanwhile."""
    busy, cpu, wall = _busy(), time.process_time(), time.perf_counter()
    result = work()
    wall, cpu, busy = time.perf_counter() - wall, time.process_time() - cpu, _busy() - busy
    return result, {"seconds": wall, "others": max(0.0, busy - cpu) / wall}


def undisturbed(worker: Worker, job: str, deadline: float, **options: Any) -> Answer:
    """The job's first answer while others kept the cores all but free; any answer past the deadline.

    What is judged is the disturbance and never the result.
    """
    while True:
        while _foreign(seconds=1.0) > DISTURBED and time.monotonic() < deadline:
            pass
        answer = worker.ask(job, **options)
        if answer["others"] <= DISTURBED or time.monotonic() >= deadline:
            return answer


def _foreign(seconds: float) -> float:
    """Cores kept busy while none of ours works."""
    before = _busy()
    time.sleep(seconds)
    return (_busy() - before) / seconds


def _busy() -> float:
    """Seconds that all cores together have worked since the machine started (Linux)."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
