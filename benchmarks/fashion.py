"""What every contestant is given: Fashion-MNIST images and one small net, with the same weights for all."""

from pathlib import Path
from typing import Any

import numpy as np

FILE = "fashion.npz"


EPS, STEP, STEPS, BATCH = 0.1, 0.03, 5, 128  # of the attack that the robust net is trained against


def make(source: str, folder: Path, robust: bool = False) -> float:
    """Train the net in Keras, leave images, labels and weights in a file; accuracy on the test images.

    A file that is there already is kept.
    """
    from hoplon.zoo.datasets import load
    from hoplon.zoo.models import benchmark_cnn, train

    if not (folder / FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        model, test = benchmark_cnn(), load(source, "test").scaled()
        train(model, load(source, "train").scaled(), epochs=1 if robust else 2, batch_size=BATCH)
        if robust:
            harden(model, load(source, "train").scaled(), epochs=2)
        logits = model.predict(test.x, batch_size=256, verbose=0)
        right = np.flatnonzero(logits.argmax(1) == test.y)
        weights = {f"weight_{i:02}": w for i, w in enumerate(model.get_weights())}
        np.savez(folder / FILE, x=test.x, y=test.y, right=right, logits=logits[:256], **weights)
    setting = Setting(folder)
    return len(setting.right) / len(setting.x)


def harden(model: Any, data: Any, epochs: int) -> None:
    """Train on the adversarial images of PGD alone (Madry et al. 2018, arXiv:1706.06083)."""
    from hoplon import Classifier
    from hoplon.attacks import PGD

    classifier, attack = Classifier(model), PGD(eps=EPS, step_size=STEP, steps=STEPS, early_stop=False)
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        order = rng.permutation(len(data.x))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            at = order[start : start + BATCH]
            x_adv = attack(classifier, data.x[at], data.y[at], seed=epoch, ids=at, batch_size=BATCH).x_adv
            model.train_on_batch(x_adv, data.y[at])


class Setting:
    """The file that `make` left: test images [n, 28, 28, 1], labels, which are classified rightly, weights."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / FILE) as file:
            self.x, self.y, self.right, self.logits = (file[name] for name in ("x", "y", "right", "logits"))
            self.weights = [file[name] for name in sorted(file.files) if name.startswith("weight_")]

    def keras_net(self) -> Any:
        """The trained net in Keras, channels last."""
        from hoplon.zoo.models import benchmark_cnn

        model = benchmark_cnn()
        model.set_weights(self.weights)
        return model

    def torch_net(self) -> Any:
        """The same function as a `torch.nn.Module`, channels first as PyTorch likes it.

        The weights ask for no gradients: an attack needs none, and a peer that would compute them along
        is spared the work.
        """
        import torch
        from torch import nn

        net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
        with torch.no_grad():
            for parameter, weight in zip(net.parameters(), map(_for_torch, self.weights), strict=True):
                parameter.copy_(torch.from_numpy(weight))
        return net.eval().requires_grad_(False)


def _for_torch(weight: np.ndarray) -> np.ndarray:
    """A Keras weight in PyTorch's order of axes."""
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    if weight.shape == (7 * 7 * 64, 128):  # flattened from (height, width, channel); PyTorch has channels first
        weight = weight.reshape(7, 7, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128)
    return np.ascontiguousarray(weight.T)


def channels_first(x: np.ndarray) -> np.ndarray:
    """[n, h, w, c] -> [n, c, h, w]."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def channels_last(x: np.ndarray) -> np.ndarray:
    """[n, c, h, w] -> [n, h, w, c]."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
