"""Whole attacks, as their documentation calls them: `python attackers.py NAME FOLDER` serves jobs in turn.

A job is one attack on some images; its answer has the seconds, the gradients it really took, and what a fresh
look at the outcome says. FOLDER/plain and FOLDER/robust hold the two nets.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contestants import BATCH, EPS, STEP, STEPS, THREADS
from fashion import Setting, channels_first, channels_last
from turns import Answer, serve, timed

ALL = 512  # the peer takes all images of AutoAttack at once, and so do we
ROUNDS, SEARCH = 3, 100  # of Carlini and Wagner's attack
WALK, CANDIDATES, OVERSHOOT = 50, 10, 0.02  # of DeepFool
NETS = ("plain", "robust")


@dataclass(frozen=True)
class Team:
    """One library: a way to run each attack, [n, 28, 28, 1] in and out, and its count of gradients so far."""

    logits: Callable[[str, np.ndarray], np.ndarray]  # of the net of that name
    attacks: dict[str, Callable[[str, np.ndarray, np.ndarray], np.ndarray]]
    gradients: Callable[[], int]


def _tensorflow() -> Any:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    return tf


def hoplon(settings: dict[str, Setting]) -> Team:
    """Ours."""
    _tensorflow()
    from hoplon import Classifier
    from hoplon.attacks import PGD, AutoAttack, CarliniWagner, DeepFool

    nets = {name: Classifier(setting.keras_net()) for name, setting in settings.items()}
    chosen = {
        "autoattack": AutoAttack(eps=EPS),
        "cw": CarliniWagner(rounds=ROUNDS, steps=SEARCH),
        "deepfool": DeepFool(steps=WALK, candidates=CANDIDATES, overshoot=OVERSHOOT),
        "first success": PGD(eps=EPS, step_size=STEP, steps=STEPS),
    }

    def run(attack: Any) -> Callable[[str, np.ndarray, np.ndarray], np.ndarray]:
        size = ALL if attack.name == "auto_attack" else BATCH
        return lambda net, x, y: attack(nets[net], x, y, batch_size=size).x_adv

    return Team(
        lambda net, x: nets[net].logits(x),
        {name: run(attack) for name, attack in chosen.items()},
        lambda: sum(net.gradients for net in nets.values()),
    )


def torchattacks(settings: dict[str, Setting]) -> Team:
    """torchattacks on the PyTorch nets."""
    import torch

    torch.set_num_threads(THREADS)
    import torchattacks

    nets = {name: setting.torch_net() for name, setting in settings.items()}

    def auto(net: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = torchattacks.AutoAttack(nets[net], norm="Linf", eps=EPS, version="standard", n_classes=10, seed=0)
        return channels_last(attack(torch.from_numpy(channels_first(x)), torch.from_numpy(y)).detach().numpy())

    return Team(lambda net, x: nets[net](torch.from_numpy(channels_first(x))).numpy(), {"autoattack": auto}, lambda: 0)


def foolbox(settings: dict[str, Setting]) -> Team:
    """Foolbox on the Keras nets."""
    tf = _tensorflow()
    import foolbox as fb

    counted = _count_gradients(tf)
    nets = {name: setting.keras_net() for name, setting in settings.items()}
    wrapped = {name: fb.TensorFlowModel(net, bounds=(0, 1)) for name, net in nets.items()}
    chosen = {
        "cw": fb.attacks.L2CarliniWagnerAttack(binary_search_steps=ROUNDS, steps=SEARCH),
        "deepfool": fb.attacks.L2DeepFoolAttack(steps=WALK, candidates=CANDIDATES, overshoot=OVERSHOOT),
    }

    def run(attack: Any) -> Callable[[str, np.ndarray, np.ndarray], np.ndarray]:
        return lambda net, x, y: attack(wrapped[net], tf.constant(x), tf.constant(y), epsilons=None)[1].numpy()

    attacks = {name: run(attack) for name, attack in chosen.items()}
    return Team(lambda net, x: nets[net](x).numpy(), attacks, lambda: counted[0])


def waiting(settings: dict[str, Setting]) -> Team:
    """A bare TensorFlow loop that leaves a batch when its last image is fooled, or after all steps."""
    tf, counted = _tensorflow(), [0]
    nets = {name: setting.keras_net() for name, setting in settings.items()}

    def build(model: Any) -> Any:
        @tf.function
        def step(x: Any, z: Any, y: Any, best: Any, fooled: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(z)
                logits = model(z, training=False)
                loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            hit = tf.argmax(logits, axis=1) != y
            best = tf.where((hit & ~fooled)[:, None, None, None], z, best)
            moved = z + STEP * tf.sign(tape.gradient(loss, z))
            moved = tf.clip_by_value(tf.clip_by_value(moved, x - EPS, x + EPS), 0.0, 1.0)
            return moved, best, fooled | hit

        return step

    steps = {name: build(net) for name, net in nets.items()}

    def first_success(net: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = []
        for start in range(0, len(x), BATCH):
            images, labels = tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH])
            z = tf.clip_by_value(images + tf.random.uniform(images.shape, -EPS, EPS), 0.0, 1.0)
            best, fooled = images, tf.zeros(len(images), bool)
            for _ in range(STEPS):
                z, best, fooled = steps[net](images, z, labels, best, fooled)
                counted[0] += len(images)
                if tf.reduce_all(fooled):
                    break
            out.append(tf.where(fooled[:, None, None, None], best, z).numpy())
        return np.concatenate(out)

    return Team(lambda net, x: nets[net](x).numpy(), {"first success": first_success}, lambda: counted[0])


def _count_gradients(tf: Any) -> list[int]:
    """One cell that counts images times calls of the tape from now on."""
    counted, gradient = [0], tf.GradientTape.gradient

    def counting(self: Any, target: Any, sources: Any, *rest: Any, **more: Any) -> Any:
        counted[0] += int(tf.nest.flatten(sources)[0].shape[0])
        return gradient(self, target, sources, *rest, **more)

    tf.GradientTape.gradient = counting
    return counted


TEAMS: dict[str, Callable[[dict[str, Setting]], Team]] = {
    "hoplon": hoplon,
    "torchattacks": torchattacks,
    "foolbox, TensorFlow": foolbox,
    "a batch waits for its slowest image": waiting,
}


@dataclass(frozen=True)
class Jobs:
    """What a team can be asked."""

    settings: dict[str, Setting]
    team: Team

    def agree(self) -> Answer:
        """Largest difference of its logits from those of the nets as trained."""
        gaps = [
            np.abs(self.team.logits(name, setting.x[:BATCH]) - setting.logits).max()
            for name, setting in self.settings.items()
        ]
        return {"difference": float(max(gaps))}

    def attack(self, name: str, net: str, count: int) -> Answer:
        """One attack on the first `count` images, or on as many that the net gets right, for distances."""
        setting = self.settings[net]
        at = setting.right[:count] if name in ("cw", "deepfool") else np.arange(count)
        x, y, before = setting.x[at], setting.y[at], self.team.gradients()
        found, measured = timed(lambda: self.team.attacks[name](net, x, y))
        logits = np.concatenate([self.team.logits(net, found[i : i + BATCH]) for i in range(0, count, BATCH)])
        fooled = logits.argmax(1) != y
        distance = np.sqrt(np.square(found - x).reshape(count, -1).sum(axis=1))
        if found.min() < 0 or found.max() > 1 or (name in ("autoattack", "first success") and _leaves(found - x)):
            raise SystemExit("The result must lie in the ball and in [0, 1]. Received: an image that does not.")
        return {
            **measured,
            "standing": int((~fooled).sum()),
            "distance": float(np.median(distance[fooled & (distance > 0)])) if fooled.any() else None,
            "gradients": (self.team.gradients() - before) / count,
        }


def _leaves(change: np.ndarray) -> bool:
    return bool(np.abs(change).max() > EPS + 1e-6)


if __name__ == "__main__":
    who, folder = sys.argv[1:]
    known = {name: Setting(Path(folder) / name) for name in NETS}
    jobs = Jobs(known, TEAMS[who](known))
    serve({job: getattr(jobs, job) for job in ("agree", "attack")})
