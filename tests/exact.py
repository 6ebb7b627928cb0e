"""Exact smallest changes of linear classifiers inside a box: the oracles of the attacks of minimum norm."""

import numpy as np
from scipy.optimize import linprog, minimize

from hoplon import Classifier
from worlds import linear_model

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


class Linear:
    """A linear classifier of k classes on [0, 1]^d: `edge` puts many features at 0 or 1, `lead` helps class 0."""

    def __init__(self, d=64, classes=10, n=64, *, edge=False, lead=0.0, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        w = scale * rng.normal(size=(d, classes))
        b = -0.5 * w.sum(0) + scale * lead * (np.arange(classes) == 0)
        x = rng.uniform(-0.3, 1.3, (n, d)).clip(0, 1) if edge else 0.5 + 0.05 * rng.normal(size=(n, d))
        self.x = x.astype("float32")
        self.model = linear_model(w, b, (d,))
        self.w, self.b = w.astype("float32").astype(float), b.astype("float32").astype(float)
        self.classifier = Classifier(self.model)

    def distance(self, norm):
        """Smallest size of a change that leaves the class, per example; infinite where none does."""
        z = self.x.astype(float) @ self.w + self.b
        out = []
        for x, logits in zip(self.x.astype(float), z, strict=True):
            y = logits.argmax()
            others = [k for k in range(len(logits)) if k != y]
            out.append(min(self._to(norm, x, logits[y] - logits[k], self.w[:, k] - self.w[:, y]) for k in others))
        return np.array(out)

    def _to(self, norm, x, gap, a):
        low, high = -x, 1 - x
        most = np.abs(a) * np.where(a > 0, high, -low)
        if most.sum() < gap:
            return np.inf
        if norm == "l0":
            return 1 + np.searchsorted(np.sort(most)[::-1].cumsum(), gap)
        nearest = a * gap / (a @ a) if norm == "l2" else None
        free = norm in DUAL and gap / np.linalg.norm(a, ord=DUAL[norm])
        if norm == "l2" and ((low <= nearest) & (nearest <= high)).all():
            return free
        return {"linf": _linf, "l2": _l2, "l1": _l1}[norm](gap, a, low, high)


def _linf(gap, a, low, high):
    d = len(a)
    inside = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
    rows, limits = np.vstack([np.r_[-a, 0], inside]), np.r_[-gap, np.zeros(2 * d)]
    return linprog(np.r_[np.zeros(d), 1], A_ub=rows, b_ub=limits, bounds=[*zip(low, high, strict=True), (0, None)]).fun


def _l1(gap, a, low, high):
    bounds = [(0, h) for h in high] + [(0, -v) for v in low]
    return linprog(np.ones(2 * len(a)), A_ub=[np.r_[-a, a]], b_ub=[-gap], bounds=bounds).fun


def _l2(gap, a, low, high):
    reach = {"type": "ineq", "fun": lambda v: a @ v - gap, "jac": lambda v: a}
    start, bounds = np.clip(a * gap / (a @ a), low, high), list(zip(low, high, strict=True))
    options = {"maxiter": 500, "ftol": 1e-12}
    found = minimize(lambda v: v @ v, start, jac=lambda v: 2 * v, bounds=bounds, constraints=[reach], options=options)
    assert found.success
    return np.sqrt(found.fun)
