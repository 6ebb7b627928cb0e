"""Callbacks for networks of Lipschitz layers and losses with parameters; all of them act inside a compiled fit.

On JAX the trainer keeps the model's variables to itself during an epoch; a callback that asks for `self.model` has
Keras give them back. It costs a copy of the state, so nothing here asks in a batch without need.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import ModelError, OptionError
from .condensing import condense
from .losses.base import ScheduledLoss, give_state, holds, scheduled_losses


class CondenseCallback(keras.callbacks.Callback):
    """Makes each layer's projected kernel its kernel, after every epoch or every batch.

    >>> model.fit(x, y, callbacks=[CondenseCallback()])
    """

    def __init__(self, on_epoch: bool = True, on_batch: bool = False) -> None:
        super().__init__()
        self.on_epoch, self.on_batch = on_epoch, on_batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.on_batch:
            condense(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.on_epoch:
            condense(self.model)


class MonitorCallback(keras.callbacks.Callback):
    """Writes singular values of kernels to `logdir/monitor.jsonl`, one JSON object a line.

    `monitored_layers`: layers of the model or their names. `target`: "kernel", the weight the optimiser moves, or
    "wbar", the projected kernel the layer uses. `what`: "max", the largest, or "all" of the kernel as a matrix
    [inputs, outputs]. A line has epoch, batch (null after an epoch), layer, target and singular_values.

    A file of lines and no event files of TensorBoard: those take TensorFlow, whatever the backend.

    >>> model.fit(x, y, callbacks=[MonitorCallback(["dense"], "logs", target="kernel", what="max")])
    """

    def __init__(
        self,
        monitored_layers: Sequence[Any],
        logdir: Any,
        target: str = "kernel",
        what: str = "max",
        on_epoch: bool = True,
        on_batch: bool = False,
    ) -> None:
        super().__init__()
        if target not in ("kernel", "wbar"):
            raise OptionError.expected("`target` must be 'kernel' or 'wbar'.", repr(target))
        if what not in ("max", "all"):
            raise OptionError.expected("`what` must be 'max' or 'all'.", repr(what))
        self.monitored_layers, self.file = list(monitored_layers), Path(logdir) / "monitor.jsonl"
        self.target, self.what = target, what
        self.on_epoch, self.on_batch = on_epoch, on_batch
        self.epoch = 0

    def singular_values(self, layer: Any) -> list[float]:
        """Of the layer's target as it is now, in falling order."""
        if self.target == "wbar":
            layer.refresh()
        kernel = ops.convert_to_numpy(getattr(layer, self.target)).astype(np.float64)
        values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
        return [float(s) for s in (values[:1] if self.what == "max" else values)]

    def watched(self) -> list[Any]:
        """The layers; a ModelError for one without the target."""
        found = [self.model.get_layer(each) if isinstance(each, str) else each for each in self.monitored_layers]
        for layer in found:
            if not hasattr(layer, self.target):
                raise ModelError.expected(
                    f"A monitored layer must have a {self.target}.", f"{layer.name}, a {type(layer).__name__}"
                )
        return found

    def write(self, batch: int | None) -> None:
        """Append a line for each layer."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            for layer in self.watched():
                line = {"epoch": self.epoch, "batch": batch, "layer": layer.name, "target": self.target}
                file.write(json.dumps({**line, "singular_values": self.singular_values(layer)}) + "\n")

    def on_train_begin(self, logs: Any = None) -> None:
        self.watched()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.on_batch:
            self.write(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.on_epoch:
            self.write(None)


def losses_with(model: keras.Model, param_name: str) -> list[ScheduledLoss]:
    """The losses of a model that have a parameter; a ModelError if none is of ours, an OptionError if none has it."""
    losses = scheduled_losses(model.loss)
    if not losses:
        raise ModelError.expected(
            "The model must be compiled with a loss that has parameters, such as HKR.", repr(model.loss)
        )
    having = [loss for loss in losses if param_name in loss.parameters()]
    if not having:
        losses[0].parameter(param_name)
    return having


class LossParamScheduler(keras.callbacks.Callback):
    """Sets a parameter of the loss before each batch to the value at the step, linear between points.

    `fp` are values at the steps `xp`, which rise; `step` is the number of the first batch. If the model does not
    hold the loss's state yet, it does from the beginning of the training on: on a plain `keras.Model` the schedule
    is as effective as on a LossVariableModel, on every backend.

    >>> model.fit(x, y, callbacks=[LossParamScheduler("alpha", fp=[0.0, 10.0], xp=[0, 1000])])
    """

    def __init__(self, param_name: str, fp: Sequence[float], xp: Sequence[float], step: int = 0) -> None:
        super().__init__()
        if len(fp) != len(xp) or len(xp) == 0 or np.any(np.diff(xp) <= 0):
            raise OptionError.expected("`xp` must rise, with one value in `fp` for each.", f"xp={xp}, fp={fp}")
        self.param_name, self.fp, self.xp, self.step = param_name, list(fp), list(xp), step
        self.began = 0

    def on_train_begin(self, logs: Any = None) -> None:
        for loss in losses_with(self.model, self.param_name):
            loss.scheduled_parameter(self.param_name)
            if not all(holds(self.model, state) for state in loss.states()):
                give_state(self.model, self.model.loss, learns=False)
        self.last: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.began = batch
        value = float(np.interp(self.step, self.xp, self.fp))
        if value == self.last:
            return
        for loss in losses_with(self.model, self.param_name):
            loss.scheduled_parameter(self.param_name).assign(value)
        self.last = value

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += batch - self.began + 1  # several, with steps_per_execution


class LossParamLog(keras.callbacks.Callback):
    """Prints a parameter of the loss after every `rate`-th epoch, the first among them.

    >>> model.fit(x, y, callbacks=[LossParamLog("hinge_margins", rate=4)])
     MulticlassHKRauto hinge_margins [0.01 0.01 0.01 ... 0.01 0.01 0.01]
    """

    def __init__(self, param_name: str, rate: int = 1) -> None:
        super().__init__()
        if rate < 1:
            raise OptionError.expected("`rate` must be 1 or more.", rate)
        self.param_name, self.rate = param_name, rate

    def on_train_begin(self, logs: Any = None) -> None:
        losses_with(self.model, self.param_name)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch % self.rate:
            return
        for loss in losses_with(self.model, self.param_name):
            value = ops.convert_to_numpy(loss.parameter(self.param_name))
            said = np.array2string(value, threshold=6, edgeitems=3, max_line_width=10**6)
            print(f"\n {loss.name} {self.param_name} {said}")
