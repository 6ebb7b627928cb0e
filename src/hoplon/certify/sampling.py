"""Predictions on noisy copies of examples, in a batch that stays full, drawn while the one before is predicted.

What an example is asked is a poll: some samples of one of its streams. When the votes are back, whoever asks says what
to ask next. Rows of a batch may belong to different examples, and an example may wait for its votes while others are
drawn for: what is drawn depends on (seed, example, stream, number of the sample) and on nothing else.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import backend
from ..core.classifier import Classifier, bucket
from ..core.draws import Keys

Progress = Callable[[int, int], None]  # examples decided so far, examples in all
PART = 128  # samples drawn from one generator: entering the stream costs little beside them
THREADS = 2  # draw at once: NumPy lets others run meanwhile


@dataclass(frozen=True)
class Poll:
    """Samples `start` to `stop` of a stream; an example asks for those of a stream in order, from 0 on."""

    stream: int
    start: int
    stop: int


# (example, the poll whose votes are back, counts int64 [1 + classes], that of class -1 first) -> what to ask next
Ask = Callable[[int, Poll | None, np.ndarray], Poll | None]


@dataclass
class _Asked:
    """An example that is being asked: its poll, how far that is handed out, and the votes that are back."""

    example: int
    poll: Poll
    counts: np.ndarray
    given: int = 0
    missing: int = 0
    rng: Any = None

    def start(self, poll: Poll) -> None:
        self.poll, self.given, self.missing = poll, poll.start, poll.stop - poll.start
        self.counts = np.zeros_like(self.counts)


@dataclass(frozen=True)
class _Share:
    """Rows of a batch that belong to one example."""

    asked: _Asked
    rng: np.random.Generator
    rows: slice


@dataclass
class _Batch:
    buffer: np.ndarray
    shares: list[_Share]
    drawn: list[Future] = field(default_factory=list)


class Sampler:
    """Asks every example until `ask` has no more question for it."""

    def __init__(self, classifier: Classifier, x: np.ndarray, keys: Keys, sigma: float, batch_size: int) -> None:
        self.classifier, self.x, self.keys, self.sigma = classifier, x, keys, np.float32(sigma)
        self.size = batch_size if backend.DYNAMIC_BATCH else bucket(batch_size)
        self.spare = [np.zeros((self.size, *x.shape[1:]), np.float32) for _ in range(2)]
        self.ready: deque[_Asked] = deque()
        self.waiting = iter(range(len(x)))
        self.decided = 0

    def run(self, ask: Ask, progress: Progress | None = None) -> None:
        """Until everything is decided; `progress` hears after each batch in which something was."""
        with self.classifier.drawing(self.keys.seed), ThreadPoolExecutor(THREADS) as threads:
            now = self._begin(threads, ask)
            while now.shares:
                for each in now.drawn:
                    each.result()
                following = self._begin(threads, ask)
                votes, before = self._votes(now), self.decided
                for share in now.shares:
                    self._count(share, votes[share.rows], ask)
                if progress is not None and self.decided > before:
                    progress(self.decided, len(self.x))
                self.spare.append(now.buffer)
                if not following.shares:  # all there was to hand out waited for these votes
                    self.spare.append(following.buffer)
                    following = self._begin(threads, ask)
                now = following

    def _begin(self, threads: ThreadPoolExecutor, ask: Ask) -> _Batch:
        """Hand out the next batch and have its noise drawn."""
        batch = _Batch(self.spare.pop(), self._shares(ask))
        batch.drawn = [threads.submit(self._draw, batch.buffer[each.rows], each) for each in batch.shares]
        return batch

    def _shares(self, ask: Ask) -> list[_Share]:
        shares: list[_Share] = []
        used = 0
        while used < self.size and (self.ready or self._admit(ask)):
            one = self.ready[0]
            if one.given % PART == 0:
                one.rng = self.keys.rng(one.example, one.poll.stream, one.given // PART)
            count = min(self.size - used, one.poll.stop - one.given, PART - one.given % PART)
            shares.append(_Share(one, one.rng, slice(used, used + count)))
            used, one.given = used + count, one.given + count
            if one.given == one.poll.stop:
                self.ready.popleft()
        return shares

    def _admit(self, ask: Ask) -> bool:
        """Let the next waiting example in, if there is one."""
        for example in self.waiting:
            none = np.zeros(1 + self.classifier.num_classes, np.int64)
            poll = ask(example, None, none)
            if poll is not None:
                self.ready.append(_Asked(example, poll, none))
                self.ready[-1].start(poll)
                return True
            self.decided += 1
        return False

    def _draw(self, rows: np.ndarray, share: _Share) -> None:
        """`x + sigma * noise` in place. Not clipped: the smoothed classifier is defined on just that."""
        share.rng.standard_normal(out=rows, dtype=np.float32)
        rows *= self.sigma
        rows += self.x[share.asked.example]

    def _votes(self, batch: _Batch) -> np.ndarray:
        """The class of each row in use, -1 where a logit is not finite. One shape wherever another would compile."""
        used = batch.shares[-1].rows.stop
        rows = batch.buffer[:used] if backend.DYNAMIC_BATCH else batch.buffer
        votes = self.classifier.predict(rows, self.size)
        self.classifier.queries -= len(rows) - used  # what only fills the shape asks nothing
        return votes

    def _count(self, share: _Share, votes: np.ndarray, ask: Ask) -> None:
        one = share.asked
        one.counts += np.bincount(votes + 1, minlength=len(one.counts))
        one.missing -= len(votes)
        if one.missing:
            return
        poll = ask(one.example, one.poll, one.counts)
        if poll is None:
            self.decided += 1
            return
        one.start(poll)
        self.ready.appendleft(one)  # who has begun is finished first: few examples are open at a time
