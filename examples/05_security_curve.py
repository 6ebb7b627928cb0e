"""The whole security curve of a small network, and what each of several attacks adds to it.

Attacks of minimum norm answer for every radius in one run; attacks of fixed budget are run at a few radii, each on the
images that still stand. The worst case over all of them, image by image, is the curve.

    python examples/05_security_curve.py                          # scikit-learn's digits, about a minute
    python examples/05_security_curve.py --norm l2 --images 400
"""

import argparse
from pathlib import Path

import numpy as np

from hoplon import Classifier, zoo
from hoplon.attacks import APGD, FMN, DeepFool, Noise, Square
from hoplon.attacks.curve import SecurityCurve, security_curve
from hoplon.zoo.models import digits_cnn, train

RADII = {"linf": [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4], "l2": [1 / 8, 1 / 4, 1 / 2, 1, 2], "l1": [1 / 2, 1, 2, 4, 8]}


def attacks(norm: str) -> list:
    """A baseline, two attacks of minimum norm, one of fixed budget, and a search without gradients."""
    return [
        Noise(norm=norm),
        DeepFool(norm=norm),
        FMN(norm=norm, steps=60),
        APGD(norm=norm, steps=40, loss="dlr"),
        Square(norm=norm, queries=300),
    ]


def say(curve: SecurityCurve) -> None:
    """Accuracy at the radii, then who did what."""
    print(f"\n{'radius':>10}  accuracy at most")
    for eps in [0.0, *curve.radii]:
        print(f"{eps:10.4f}  {curve.robust_accuracy(eps):.3f}")
    eps = float(curve.radii[len(curve.radii) // 2])
    print(f"\nAt radius {eps:.4f}")
    print(f"{'attack':>10}  broken  closest  alone  gradients")
    for row in curve.contributions(eps):
        print(f"{row['attack']:>10}  {row['broken']:6}  {row['closest']:7}  {row['alone']:5}  {row['gradients']:9,}")


def draw(curve: SecurityCurve, path: Path) -> None:
    """The curve of each attack, thin, and the worst case, thick."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=f"{curve.norm} radius", ylabel="accuracy, at most", ylim=(0, 1))
    eps = np.linspace(0, curve.radii[-1], 400)
    for attack, distance in zip(curve.attacks, curve.distances, strict=True):
        share = (distance > eps[:, None] * (1 + 1e-5)).mean(axis=1)
        axes.step(eps, share, where="post", linewidth=1, label=attack.name)
    axes.step(eps, curve.robust_accuracy(eps), where="post", linewidth=2.5, color="black", label="worst case")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"\npicture: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--norm", choices=RADII, default="linf")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/security_curve"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model, test = digits_cnn(seed=0), zoo.datasets.load("digits")[np.arange(asked.images)]
    train(model, zoo.datasets.load("digits", "train"), epochs=15)
    curve = security_curve(Classifier(model), test.x, test.y, attacks(asked.norm), RADII[asked.norm])
    say(curve)
    draw(curve, asked.out / f"{asked.norm}.png")


if __name__ == "__main__":
    main()
