"""One PGD each, as its documentation calls it: `python contestants.py NAME FOLDER` serves jobs in turn.

Images are in the contestant's own form before the clock starts and stay in it; whatever a contestant does
besides (checks, copies, its own test of success) is inside the time, as it is for its user.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fashion import Setting, channels_first, channels_last
from turns import Answer, serve, timed

EPS, STEP, STEPS, BATCH, THREADS = 0.1, 0.01, 40, 256, 2
Array = Any


@dataclass(frozen=True)
class Contestant:
    """A net and a PGD on it: `give` makes images and labels its own, `take` makes them arrays again."""

    give: Callable[[np.ndarray, np.ndarray], tuple[Array, Array]]
    logits: Callable[[Array], Array]
    attack: Callable[[Array, Array], Array]  # all 40 steps for every image of one batch
    take: Callable[[Array], np.ndarray] = np.asarray
    stop: Callable[[Array, Array], float] | None = None  # any number of images; its own success rate


def _tensorflow() -> Any:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    return tf


def _torch() -> Any:
    import torch

    torch.set_num_threads(THREADS)
    return torch


def hoplon(setting: Setting) -> Contestant:
    """Ours; every image takes all steps in `attack`, and leaves at its first success in `stop`."""
    _tensorflow()
    from hoplon import Classifier
    from hoplon.attacks import PGD

    model = setting.keras_net()
    classifier = Classifier(model)
    full = PGD(eps=EPS, step_size=STEP, steps=STEPS, early_stop=False)
    short = PGD(eps=EPS, step_size=STEP, steps=STEPS, early_stop=True)

    def attack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        result = full(classifier, x, y, batch_size=BATCH)
        if not (result.gradients == STEPS).all():
            raise SystemExit(f"Every image must take {STEPS} gradients. Received: {result.gradients}.")
        return result.x_adv

    def stop(x: np.ndarray, y: np.ndarray) -> float:
        return float(short(classifier, x, y, batch_size=BATCH).success.mean())

    return Contestant(lambda x, y: (x, y), classifier.logits, attack, stop=stop)


def _bare(setting: Setting, build: Callable[[Any, Any, Callable[..., Any]], Callable[..., Any]]) -> Contestant:
    """TensorFlow with nothing around it; `build` makes the loop out of one step."""
    tf, model = _tensorflow(), setting.keras_net()

    def step(x: Array, z: Array, y: Array) -> Array:
        with tf.GradientTape() as tape:
            tape.watch(z)
            logits = model(z, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        z = z + STEP * tf.sign(tape.gradient(loss, z))
        return tf.clip_by_value(tf.clip_by_value(z, x - EPS, x + EPS), 0.0, 1.0)

    climb = build(tf, model, step)

    def attack(x: Array, y: Array) -> np.ndarray:
        start = tf.clip_by_value(x + tf.random.uniform(x.shape, -EPS, EPS), 0.0, 1.0)
        return climb(x, start, y).numpy()

    return Contestant(lambda x, y: (tf.constant(x), tf.constant(y)), model, attack)


def tensorflow_calls(setting: Setting) -> Contestant:
    """The bare loop, one call of a graph for each step."""

    def build(tf: Any, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        graph = tf.function(step)

        def climb(x: Array, z: Array, y: Array) -> Array:
            for _ in range(STEPS):
                z = graph(x, z, y)
            return z

        return climb

    return _bare(setting, build)


def tensorflow_while(setting: Setting) -> Contestant:
    """The bare loop, inside one graph."""

    def build(tf: Any, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        @tf.function
        def climb(x: Array, z: Array, y: Array) -> Array:
            return tf.while_loop(lambda i, z: i < STEPS, lambda i, z: (i + 1, step(x, z, y)), (0, z))[1]

        return climb

    return _bare(setting, build)


def foolbox_tensorflow(setting: Setting) -> Contestant:
    """Foolbox on the Keras net."""
    tf, model = _tensorflow(), setting.keras_net()
    import foolbox

    wrapped = foolbox.TensorFlowModel(model, bounds=(0, 1))
    return Contestant(
        lambda x, y: (tf.constant(x), tf.constant(y)), model, _foolbox_attack(foolbox, wrapped), lambda x: x.numpy()
    )


def foolbox_torch(setting: Setting) -> Contestant:
    """Foolbox on the PyTorch net."""
    torch, net = _torch(), setting.torch_net()
    import foolbox

    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    return Contestant(_to_torch(torch), net, _foolbox_attack(foolbox, wrapped), _from_torch)


def _foolbox_attack(foolbox: Any, model: Any) -> Callable[[Array, Array], Array]:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS)
    return lambda x, y: attack(model, x, y, epsilons=EPS)[1]


def torchattacks(setting: Setting) -> Contestant:
    """torchattacks on the PyTorch net as it comes."""
    torch = _torch()
    return _torchattacks(torch, setting, torch.contiguous_format)


def torchattacks_channels_last(setting: Setting) -> Contestant:
    """The same in the order of axes in memory that suits this processor better, for users who know of it."""
    torch = _torch()
    return _torchattacks(torch, setting, torch.channels_last)


def _torchattacks(torch: Any, setting: Setting, order: Any) -> Contestant:
    """It knows batches alone: `stop` makes them, and asks the net in the end who was fooled."""
    net = setting.torch_net().to(memory_format=order)
    import torchattacks

    attack = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS)

    def stop(x: Array, y: Array) -> float:
        fooled = 0
        for start in range(0, len(x), BATCH):
            images, labels = x[start : start + BATCH], y[start : start + BATCH]
            fooled += int((net(attack(images, labels)).argmax(1) != labels).sum())
        return fooled / len(x)

    def give(x: np.ndarray, y: np.ndarray) -> tuple[Array, Array]:
        images, labels = _to_torch(torch)(x, y)
        return images.contiguous(memory_format=order), labels

    return Contestant(give, net, attack, _from_torch, stop)


def art_torch(setting: Setting) -> Contestant:
    """The Adversarial Robustness Toolbox on the PyTorch net; it works on NumPy arrays."""
    torch, net = _torch(), setting.torch_net()
    from art.attacks.evasion.projected_gradient_descent import projected_gradient_descent_pytorch as module
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = module.ProjectedGradientDescentPyTorch(
        wrapped, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=BATCH, verbose=False
    )
    return Contestant(
        lambda x, y: (channels_first(x), y), lambda x: net(torch.from_numpy(x)), attack.generate, channels_last
    )


def _to_torch(torch: Any) -> Callable[[np.ndarray, np.ndarray], tuple[Array, Array]]:
    return lambda x, y: (torch.from_numpy(channels_first(x)), torch.from_numpy(y))


def _from_torch(x: Array) -> np.ndarray:
    return channels_last(x.detach().numpy())


CONTESTANTS: dict[str, Callable[[Setting], Contestant]] = {
    "hoplon": hoplon,
    "TensorFlow, one graph call a step": tensorflow_calls,
    "TensorFlow, tf.while_loop": tensorflow_while,
    "foolbox, TensorFlow": foolbox_tensorflow,
    "foolbox, PyTorch": foolbox_torch,
    "torchattacks": torchattacks,
    "torchattacks, channels last": torchattacks_channels_last,
    "ART, PyTorch": art_torch,
}


@dataclass(frozen=True)
class Jobs:
    """What a contestant can be asked, in the names of the requests."""

    setting: Setting
    who: Contestant

    def agree(self) -> Answer:
        """Largest difference of its logits from those of the net as trained."""
        x, _ = self.who.give(self.setting.x[:BATCH], self.setting.y[:BATCH])
        return {"difference": float(np.abs(np.asarray(self.who.logits(x)) - self.setting.logits).max())}

    def gradients(self) -> Answer:
        """All steps on one batch of images that the net gets right: seconds, then what a fresh look says."""
        at = self.setting.right[:BATCH]
        x, y = self.setting.x[at], self.setting.y[at]
        given = self.who.give(x, y)
        found, measured = timed(lambda: self.who.attack(*given))
        predictions = np.asarray(self.who.logits(found)).argmax(1)
        found = self.who.take(found)
        if np.abs(found - x).max() > EPS + 1e-6 or found.min() < 0 or found.max() > 1:
            raise SystemExit("The result must lie in the ball and in [0, 1]. Received: an image that does not.")
        return {**measured, "success": float((predictions != y).mean())}

    def stop(self, count: int) -> Answer:
        """The first `count` images, each until it fools the net."""
        given = self.who.give(self.setting.x[:count], self.setting.y[:count])
        success, measured = timed(lambda: self.who.stop(*given))
        return {**measured, "success": success}

    def memory(self, count: int) -> Answer:
        """Growth of the resident set's peak over one attack, in MB, without the images that come out."""
        x, y = self.who.give(self.setting.x[:count].copy(), self.setting.y[:count].copy())
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        self.who.stop(x, y)
        return {"growth": (_resident("VmHWM") - before - x.nbytes) / 1e6, "images": x.nbytes / 1e6}


def _resident(field: str) -> int:
    """One of the kernel's counters of this process' memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    chosen = Setting(Path(folder))
    jobs = Jobs(chosen, CONTESTANTS[name](chosen))
    serve({job: getattr(jobs, job) for job in ("agree", "gradients", "stop", "memory")})
