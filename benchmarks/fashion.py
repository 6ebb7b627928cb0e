"""What every contestant is given: Fashion-MNIST images and one small net, with the same weights for all."""

from pathlib import Path
from typing import Any

import numpy as np

FILE = "fashion.npz"


def make(source: str, folder: Path) -> float:
    """Train the net in Keras, leave images, labels and weights in a file; accuracy on the test images."""
    from hoplon.zoo.datasets import load
    from hoplon.zoo.models import benchmark_cnn, train

    model, test = benchmark_cnn(), load(source, "test").scaled()
    train(model, load(source, "train").scaled(), epochs=2, batch_size=128)
    logits = model.predict(test.x, batch_size=256, verbose=0)
    right = np.flatnonzero(logits.argmax(1) == test.y)
    weights = {f"weight_{i:02}": w for i, w in enumerate(model.get_weights())}
    np.savez(folder / FILE, x=test.x, y=test.y, right=right, logits=logits[:256], **weights)
    return len(right) / len(test)


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
