"""Two small networks, three ways of proving, and an attack on everything that was proven.

A plain network and one of 1-Lipschitz layers learn the digits. Lipschitz constants, linear bounds and randomised
smoothing certify both, an attack tries to break what is certified, and the bracket says what is known: no attack
exists below the one number, one was found above the other.

    python examples/06_certificates.py                     # scikit-learn's digits, about a minute
    python examples/06_certificates.py --images 300 --eps 0.5
"""

import argparse
from typing import Any

import keras
import numpy as np

from hoplon import Classifier
from hoplon.attacks import APGD, DDN
from hoplon.certify import Smoothing, bounds, certify
from hoplon.lipschitz import FrobeniusDense, GroupSort2, SpectralDense
from hoplon.lipschitz.losses import MulticlassHKR
from hoplon.zoo import datasets
from hoplon.zoo.models import digits_mlp, train

L = keras.layers


def lipschitz_network(data: Any) -> Any:
    """Dense layers whose product is 1-Lipschitz, trained for margins."""
    keras.utils.set_random_seed(0)
    layers = [L.Flatten(), SpectralDense(64), GroupSort2(), SpectralDense(64), GroupSort2(), FrobeniusDense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile(keras.optimizers.Adam(3e-3), MulticlassHKR(alpha=50.0, min_margin=1.0))
    model.fit(data.x, np.eye(10, dtype="float32")[data.y], epochs=25, batch_size=64, verbose=0)
    return model


def plain_network(data: Any) -> Any:
    """A dense layer of 64, as anybody would train it."""
    model = digits_mlp(seed=0)
    train(model, data, epochs=15)
    return model


def attacked(model: Any, x: np.ndarray, y: np.ndarray, eps: float) -> np.ndarray:
    """The smallest L2 change that two attacks find for each image; infinite where they find none."""
    classifier = Classifier(model)
    found = [DDN(norm="l2", steps=100)(classifier, x, y).radius]
    found += [APGD(norm="l2", eps=eps, steps=40, restarts=2)(classifier, x, y).radius]
    return np.minimum(*found)


def main() -> None:
    """Train, certify, attack, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--eps", type=float, default=0.3, help="L2 radius that is asked about")
    parser.add_argument("--samples", type=int, default=2000, help="of smoothing")
    args = parser.parse_args()
    data, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    x, y = test.x[: args.images].astype("float32"), test.y[: args.images]
    for name, make in (("plain", plain_network), ("1-Lipschitz", lipschitz_network)):
        model = make(data)
        print(f"\n{name} network: what a layer can stretch a difference by, at most")
        for row in bounds(model):
            print(f"  {row.name:14} {row.bound:8.4f}  {row.method}")
        by_constants, by_lines = certify(model, x, y), certify(model, x, y, method="linear", norm="l2")
        distance = attacked(model, x, y, args.eps)
        for way, found in (("constants", by_constants), ("linear bounds", by_lines)):
            broken = int(((distance > 0) & (distance < found.executed)).sum())
            print(f"  {way:13} certify {found.accuracy(args.eps):.2f} at L2 {args.eps:g}; {broken} broken by an attack")
            if broken:
                raise SystemExit("A certificate was broken: this must never happen.")
        votes = Smoothing(sigma=args.eps, samples=args.samples, eps=(args.eps,), confidence=0.99)
        smoothed = votes(Classifier(model), x, y)
        print(f"  smoothing     certifies {smoothed.accuracy(args.eps):.2f} of its own answers, each with 99 %")
        best = np.maximum(by_constants.radius, by_lines.radius)
        low, high = (best > args.eps).mean(), (distance > args.eps).mean()
        print(f"  the truth lies between {low:.2f} (proven) and {high:.2f} (what attacks left)")


if __name__ == "__main__":
    main()
