"""A loss with state: scalars that a schedule may change and margins that an optimiser may learn.

The state lives in a small Keras layer. A loss is no part of a model, and what no model holds is a constant of the
compiled step on JAX; `give_state` makes the layer a part of one. `LossVariableModel` and `LossVariableSequential` do
so when they are compiled, `LossParamScheduler` when training begins.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from ...core.caution import caution
from ...core.errors import ModelError, OptionError
from ...core.signatures import inits, sign


class Between(keras.constraints.Constraint):
    """Keeps a weight inside two bounds."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, self.low, self.high)

    def get_config(self) -> dict[str, float]:
        return {"low": self.low, "high": self.high}


class LossState(keras.layers.Layer):
    """What a loss keeps between steps: named scalars, and a margin for each output once their number is known."""

    def __init__(self, scalars: Mapping[str, float], bounds: tuple[float, float] | None = None) -> None:
        super().__init__(dtype="float32")
        self.bounds, self.margins = bounds, None
        self.learns = True  # whether the optimiser may move the margins
        self.measures = True  # whether running means may move: not while a model is evaluated
        self.told = False  # whether it was said that nobody learns the margins
        self.held = False  # whether some model holds this layer
        self.scalars = {name: self._scalar(name, value) for name, value in scalars.items()}
        self.built = bounds is None

    def _scalar(self, name: str, value: float) -> Any:
        start = keras.initializers.Constant(float(value))
        return self.add_weight(shape=(), initializer=start, trainable=False, autocast=False, name=name)

    def build(self, input_shape: Any) -> None:
        """Make the margins, one for each output: `input_shape[-1]` of them."""
        if self.bounds is None or self.margins is not None:
            return
        low, high = self.bounds
        self.margins = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(low),
            constraint=Between(low, high),
            trainable=self.learns,
            autocast=False,
            name="margins",
        )

    def learn(self, learns: bool) -> None:
        """Let the optimiser move the margins, or not."""
        self.learns = learns
        if self.margins is not None:
            self.margins.trainable = learns

    def named(self) -> dict[str, Any]:
        """Every variable there is, by its name."""
        return {**self.scalars, **({} if self.margins is None else {"margins": self.margins})}

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self.named().items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        """What the file has of it: weights saved under another loss are no error."""
        saved = set(store.keys())
        if "margins" in saved and self.margins is None:
            self.build((None, store["margins"].shape[0]))
        for name, variable in self.named().items():
            if name in saved:
                variable.assign(store[name])


def ends(self: Any, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None) -> None:
    """The arguments that every loss has after its own."""


class ScheduledLoss(keras.losses.Loss):
    """A loss of these logits with some scalars in a `LossState`; a new one states its arguments and `call`.

    `scheduled` are the arguments that become such scalars, `fixed` those that do not change, `bounds` those of the
    margins to learn. All of them are the configuration; a scalar that was changed is saved as it is now.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """A loss takes `reduction`, `name` and `dtype` after its own arguments."""
        super().__init_subclass__(**options)
        sign(cls, [*inits(cls, ScheduledLoss), ends], strict=False)

    def __init__(
        self,
        scheduled: Mapping[str, float],
        fixed: Mapping[str, Any] | None = None,
        *,
        running: Mapping[str, float] | None = None,
        bounds: tuple[float, float] | None = None,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or type(self).__name__, reduction=reduction, dtype=dtype)
        require_finite({k: v for k, v in scheduled.items() if k != "alpha"})
        self.fixed, self.scheduled = dict(fixed or {}), dict(scheduled)
        self.state = LossState({**scheduled, **(running or {})}, bounds)

    def parameters(self) -> dict[str, Any]:
        """Every variable of the loss by its name: those to schedule and `hinge_margins`."""
        learned = {} if self.state.bounds is None else {"hinge_margins": self.hinge_margins}
        return {**{name: self.state.scalars[name] for name in self.scheduled}, **learned}

    def parameter(self, name: str) -> Any:
        """The variable of that name; an OptionError for one that is none.

        >>> HKR(alpha=10.0).parameter("alpha").assign(20.0)
        """
        known = self.parameters()
        if name not in known:
            raise OptionError.expected(f"{self.name} has the parameters {', '.join(known) or 'none'}.", repr(name))
        return known[name]

    def scheduled_parameter(self, name: str) -> Any:
        """`parameter`, if it is one to schedule: a margin that is learned is not."""
        variable = self.parameter(name)
        if name not in self.scheduled:
            raise OptionError.expected(
                f"{self.name} can schedule {', '.join(self.scheduled)}.",
                repr(name),
                "Learned margins are the optimiser's.",
            )
        return variable

    def value(self, name: str, like: Any) -> Any:
        """A scalar as it is now, in the dtype of `like`."""
        return ops.cast(ops.convert_to_tensor(self.state.scalars[name]), like.dtype)

    def margins(self, like: Any) -> Any:
        """The learned margins, one for each column of `like`, in its dtype."""
        self.state.build((None, like.shape[-1]))  # where no compile knew their number
        if not self.state.held and not is_readable(like):
            say_unlearned(self, "a model that does not hold them")
        return ops.cast(ops.convert_to_tensor(self.state.margins), like.dtype)

    @property
    def hinge_margins(self) -> Any:
        """The variable of the learned margins; None before the number of outputs is known, or without any."""
        return self.state.margins

    def get_trainable_variables(self) -> list[Any]:
        """What the optimiser of a model of ours moves besides the model's weights."""
        margins = self.state.margins
        return [margins] if margins is not None and margins.trainable else []

    def states(self) -> Iterator[LossState]:
        """Its state, and that of losses inside it."""
        yield self.state

    def bind(self, model: Any) -> None:
        """Find in the model what the loss reads of it; most read nothing."""

    def __getattr__(self, name: str) -> Any:
        scalars = self.__dict__["state"].scalars if "state" in self.__dict__ else {}
        if name in scalars:
            return scalars[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def get_config(self) -> dict[str, Any]:
        now = {name: current(self.state.scalars[name], value) for name, value in self.scheduled.items()}
        return {**super().get_config(), **now, **self.fixed}


def current(variable: Any, value: float) -> float:
    """A variable's value; the number it was made of, where it is that number in float32."""
    now = float(ops.convert_to_numpy(variable))
    return float(value) if now == float(np.float32(value)) else now


def require_finite(options: Mapping[str, float]) -> None:
    """OptionError for a number that is not finite."""
    for name, value in options.items():
        if not np.isfinite(value):
            raise OptionError.expected(f"`{name}` must be finite.", value)


def scheduled_losses(loss: Any) -> list[ScheduledLoss]:
    """Every loss of ours in what `compile` took: one, or a list or dictionary of them."""
    return [leaf for leaf in tree.flatten(loss) if isinstance(leaf, ScheduledLoss)]


def is_readable(tensor: Any) -> bool:
    """Whether a tensor has values that nothing is differentiated or traced for: not so in a step of a training."""
    try:
        np.asarray(tensor)
    except Exception:
        return False
    return True


def say_unlearned(loss: Any, where: str) -> None:
    """Warn once of a loss whose margins would be learned if the model were of another class."""
    for each in scheduled_losses(loss):
        if each.state.bounds is not None and not each.state.told:
            each.state.told = True
            caution(
                f"The margins of {each.name} stay where they are on {where}: LossVariableModel and "
                "LossVariableSequential learn them."
            )


def holds(model: keras.Model, state: LossState) -> bool:
    """Whether a model's step sees a loss's state."""
    return any(state is other for other in getattr(model, "loss_states", ()))


def give_state(model: keras.Model, loss: Any, learns: bool = True) -> None:
    """Make the state of every loss of ours in `loss` a part of a model, in place of what it held before.

    With `learns` the margins are weights that the model's optimiser moves. A ModelError if the model is a
    Sequential without shapes.
    """
    losses = scheduled_losses(loss)
    states = [state for each in losses for state in each.states()]
    for each in losses:
        each.bind(model)
    for state in states:
        state.learn(learns)
        state.held = True
        if state.bounds is not None and (classes := outputs_of(model)):
            state.build((None, classes))
    for holder in holders(model):
        hold(holder, states)


def outputs_of(model: keras.Model) -> int | None:
    """Columns of a model's only output, or None while they are unknown."""
    shapes = [getattr(t, "shape", None) for t in getattr(model, "outputs", None) or ()]
    return shapes[0][-1] if len(shapes) == 1 and shapes[0] else None


def has_shapes(model: keras.Model) -> bool:
    """Whether a model can hold a loss's state yet: a Sequential can once it begins with an input layer."""
    if not isinstance(model, keras.Sequential):
        return True
    return bool(model._layers) and isinstance(model._layers[0], keras.layers.InputLayer)


def holders(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers to hang state on for a model's step to see it.

    A Sequential looks for variables in its stack alone, whose first member is an input layer that nobody lists.
    """
    if not isinstance(model, keras.Sequential):
        return [model]
    if not has_shapes(model):
        raise ModelError.expected(
            "A Sequential must know its input's shape before a loss can keep state in it.",
            f"{model.name}, not built",
            "Begin it with keras.Input, or build it.",
        )
    return [model, model._layers[0]]


def hold(holder: keras.layers.Layer, states: list[LossState]) -> None:
    """Hang states on a built layer; Keras locks those, and its trackers have no public way to add or remove."""
    tracker = holder._tracker
    locked = tracker.locked
    tracker.unlock()
    for old in list(getattr(holder, "loss_states", ())):
        tracker.untrack(old)
    holder.loss_states = list(states)
    if locked:
        tracker.lock()
