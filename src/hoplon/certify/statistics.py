"""Lower bounds of a success probability from Bernoulli trials, and when there have been enough of them.

`hits` are successes among `trials`; `risk` is 1 - confidence, the share of bounds that may be wrong.

One bound at the end of a fixed number of trials is Clopper and Pearson's (1934). A bound that may be looked at after
every trial comes from a martingale: under the true p the mixture `E_theta[theta^hits (1 - theta)^misses] /
(p^hits (1 - p)^misses)` has mean 1 and, by Ville's inequality (1939), ever reaches 1 / risk with probability at most
`risk` (Robbins 1970; Howard et al. 2021, arXiv:1810.08240; for smoothing Voracek 2024, arXiv:2406.17830). The mixture
is Jeffreys' prior, whose price is half a logarithm of the number of trials, whatever p is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc, betaincc, betaincinv, betaln, ndtr, ndtri, xlog1py, xlogy

FIRST = 32  # trials before the first look
GROWTH, PATIENCE = 1.25, 2.0  # how much farther the next one lies; with nothing to find but a lack of hope
SAFE = 1 - 1e-12  # bounds are lowered by more than what float64 does to them
JEFFREYS = 0.5  # both parameters of the Beta prior


def clopper_pearson(hits: np.ndarray, trials: np.ndarray, risk: float) -> np.ndarray:
    """The lower bound of p after a number of trials fixed beforehand."""
    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    bound = betaincinv(np.maximum(hits, 1), trials - hits + 1, risk)
    return np.where(hits > 0, bound * SAFE, 0.0)


def log_likelihood(hits: np.ndarray, misses: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Logarithm of `p^hits (1 - p)^misses`, the chance of one order of them."""
    return xlogy(hits, p) + xlog1py(misses, -np.asarray(p, np.float64))


def log_mixture(hits: np.ndarray, misses: np.ndarray, above_half: bool = False) -> np.ndarray:
    """Logarithm of the likelihood's mean over Jeffreys' prior; with `above_half`, over what of it lies above 1/2."""
    mean = betaln(hits + JEFFREYS, misses + JEFFREYS) - betaln(JEFFREYS, JEFFREYS)
    if not above_half:
        return mean
    with np.errstate(divide="ignore"):  # hardly a hit: nothing speaks for more than one half
        return mean + np.log(2 * betaincc(hits + JEFFREYS, misses + JEFFREYS, 0.5))


def evidence(hits: np.ndarray, trials: np.ndarray, p: np.ndarray, above_half: bool = False) -> np.ndarray:
    """Logarithm of the martingale against p."""
    hits, misses = np.asarray(hits, np.float64), np.asarray(trials, np.float64) - hits
    return log_mixture(hits, misses, above_half) - log_likelihood(hits, misses, p)


def always_below(hits: np.ndarray, trials: np.ndarray, risk: float) -> np.ndarray:
    """A lower bound of p that holds after every trial at once, so that anybody may stop at any time.

    The evidence falls in p up to hits / trials: a bisection finds the last p it speaks against. Its prior holds
    nothing below one half, where there is nothing to certify.
    """
    hits, trials = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(trials, np.float64))
    most = log_mixture(hits, trials - hits, above_half=True) + np.log(risk)
    low, high = np.zeros(hits.shape), hits / trials
    for _ in range(64):
        middle = (low + high) / 2
        against = log_likelihood(hits, trials - hits, middle) <= most
        low, high = np.where(against, middle, low), np.where(against, high, middle)
    return np.where(hits > 0, low * SAFE, 0.0)


def radius_of(p_low: np.ndarray, sigma: float) -> np.ndarray:
    """`sigma * Phi^-1(p_low)`, 0 where p_low is not above one half (Cohen et al. 2019, theorem 1)."""
    return sigma * ndtri(np.maximum(p_low, 0.5))


def runner_up_excluded(first: np.ndarray, second: np.ndarray, risk: float) -> np.ndarray:
    """Whether the most frequent class is so, from the counts of the two most frequent: a two-sided binomial test.

    That the two were chosen by their counts is allowed for (Hung & Fithian 2019, arXiv:1610.03944).
    """
    return np.minimum(1.0, 2 * bdtrc(first - 1.0, first + second, 0.5)) <= risk


@dataclass(frozen=True)
class Stopping:
    """When an example has been asked often enough, and what it has shown by then.

    Where radii are asked about, half of the risk goes to a bound that may be looked at at any time, half to one at
    the last trial; the better of the two counts there. Else all of it goes to the latter. Whether an example is
    given up can make no certificate false; it has the whole risk once more, for the statement that p lies below.
    """

    sigma: float
    eps: tuple[float, ...]
    trials: int  # at most
    risk: float

    def p_low(self, hits: np.ndarray, trials: np.ndarray) -> np.ndarray:
        """The lower bound of p at any of the looks."""
        last = np.asarray(trials) == self.trials
        if not self.eps:
            return np.where(last, clopper_pearson(hits, trials, self.risk), 0.0)
        at_last = np.where(last, clopper_pearson(hits, trials, self.risk / 2), 0.0)
        return np.maximum(at_last, always_below(hits, trials, self.risk / 2))

    def table(self) -> "Looks":
        """Looks whose distances grow by a factor, and the numbers of hits that decide at each."""
        times = looks(self.trials, GROWTH if self.eps else PATIENCE)
        n, radii = times[:, None], np.array(self.eps or (0.0,))  # [looks, 1], [radii]
        p = ndtr(radii / self.sigma)

        def certified(hits: np.ndarray) -> np.ndarray:
            return radius_of(self.p_low(hits, n), self.sigma) > radii

        def not_below(hits: np.ndarray) -> np.ndarray:
            return (hits >= n * p) | (evidence(hits, n, p) < -np.log(self.risk))

        shape = np.broadcast_shapes(n.shape, p.shape)
        enough = least(certified, np.broadcast_to(n, shape))
        too_late = enough[-1] - (self.trials - n)  # fewer, and hits alone from here on are not enough
        return Looks(times, enough, np.maximum(least(not_below, np.broadcast_to(n, shape)), too_late))


@dataclass(frozen=True)
class Looks:
    """Numbers of trials [k], and for each and each radius [k, r] the fewest hits that certify and that leave hope."""

    times: np.ndarray
    enough: np.ndarray
    hope: np.ndarray

    def decided(self, look: int, hits: int) -> bool:
        """Whether nothing is left to learn: every radius is certified or given up, at the last look in any case."""
        return bool(((hits >= self.enough[look]) | (hits < self.hope[look])).all())


def looks(trials: int, growth: float) -> np.ndarray:
    """Numbers of trials at which to look, the last of them `trials`: int64 [k]."""
    times: list[int] = []
    at = FIRST
    while at < trials:
        times.append(at)
        at = int(np.ceil(at * growth))
    return np.array([*times, trials], np.int64)


def least(holds: Callable[[np.ndarray], np.ndarray], most: np.ndarray) -> np.ndarray:
    """The least whole number from 0 to `most` from which on something holds, one more than `most` where never."""
    low, high = np.zeros(most.shape, np.int64), most.astype(np.int64) + 1
    while (low < high).any():
        middle = np.minimum((low + high) // 2, most)
        yes = holds(middle)
        open_ = low < high
        high, low = np.where(open_ & yes, middle, high), np.where(open_ & ~yes, middle + 1, low)
    return low


def confidence_of_all(statements: int, risk: float) -> float:
    """With what confidence so many statements all hold together, by the union bound."""
    return max(0.0, 1.0 - statements * risk)
