"""The thing under test: a function from images to logits, with its bounds."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from . import backend, tail
from .errors import BoundsError, LabelError, ModelError, ShapeError

BATCH_SIZE = 256


class Classifier:
    """A model and the range of its inputs; everything else in hoplon asks it for logits.

    `model` is any Keras model (Sequential, Functional, subclassed), a `torch.nn.Module` on the torch
    backend, or a function of a tensor: `f(x) -> logits`, or `f(x, logits=False)` that returns
    `(outputs, logits)` when asked with `logits=True`. Models are compiled, with their weights as they are
    at each call; functions run uncompiled, since what they close over may change.

    A softmax or sigmoid at the end is lifted (`lifted` names it). A single output z, as in binary heads,
    becomes the two logits (-z/2, z/2), which have the same probabilities.

    Args:
        model: what to test.
        bounds: (low, high) of valid inputs; numbers, or arrays that broadcast against one input
            (one entry per channel for channels-last images).
        outputs: "auto", "logits" or "probabilities": what the model returns when it cannot be told.

    >>> classifier = Classifier(model, bounds=(0, 255))
    >>> classifier.predict(x)
    array([3, 8])
    """

    def __init__(self, model: Any, bounds: tuple[Any, Any] = (0.0, 1.0), *, outputs: str = "auto") -> None:
        if not callable(model):
            raise ModelError.expected(
                "`model` must be a Keras model, a torch.nn.Module or a function.",
                type(model).__name__,
                "Load a file with hoplon.artifacts.load_model(path).",
            )
        if outputs not in ("auto", "logits", "probabilities"):
            raise ModelError.expected("`outputs` must be auto, logits or probabilities.", repr(outputs))
        self.model = model
        self.bounds = _checked_bounds(bounds)
        self.is_keras = isinstance(model, keras.layers.Layer)
        self.is_function = not (self.is_keras or backend.is_native(model))
        self.queries = 0  # forward passes so far, one per example
        self.gradients = 0  # backward passes so far
        self.num_classes = 0  # known once the first batch has been seen
        self.outputs = outputs
        self._tail = tail.of_graph(model) if self.is_keras and outputs != "logits" else None
        self._settled: tuple[int, ...] | None = None  # the shape of the images it was last asked about
        self._seed, self._calls = 0, 0  # name what a randomised model draws
        self._random: list[Any] | None = None  # its random states, once it is built
        self._asks_logits = self.is_function and "logits" in _parameters(model)
        self._programs: dict[Any, Callable[..., Any]] = {}

    @property
    def span(self) -> float:
        """Width of the input range, the widest channel's: what a radius given as a share is multiplied by."""
        low, high = self.bounds
        return float(np.max(high - low))

    @property
    def lifted(self) -> str | None:
        """Name of the activation that was lifted off the end of the model, if any."""
        return self._tail.activation if self._tail else None

    # -- tensors: what attacks compile against ---------------------------------------------------

    def weights(self) -> Any:
        """What `forward` needs besides x, read afresh: a compiled program sees new weights."""
        return backend.weights(self.model)

    def forward(self, weights: Any, x: Any) -> Any:
        """Logits [n, k] of a tensor x [n, ...], float32; differentiable, state left untouched."""
        with self._tail.lifted() if self._tail else nullcontext():
            out = self.model(x, logits=True)[1] if self._asks_logits else backend.call(self.model, weights, x)
        if isinstance(out, (list, tuple, dict)):
            raise ModelError.expected(
                "The model must have one output.",
                f"{len(out)} of them",
                "Pick one with a function: Classifier(lambda x: model(x)[0]).",
            )
        out = ops.cast(out, "float32")
        if len(out.shape) != 2:
            raise ShapeError.expected(
                "The model must return one row of class scores per image, [n, classes].",
                f"output of shape {tuple(out.shape)}",
                "Flatten or pool it, or pick one output with a function.",
            )
        return self._two_logits(out) if out.shape[-1] == 1 else out

    def _two_logits(self, z: Any) -> Any:
        if self.outputs == "probabilities":
            z = z - 0.5  # a lone probability that could not be lifted: its threshold is at one half
        return ops.concatenate([-z / 2, z / 2], axis=-1)

    def program(self, fn: Callable[..., Any], *static: Any) -> Callable[..., Any]:
        """`fn(classifier, *static, weights, *tensors)` compiled once per `static`; dies with the classifier."""
        key = (fn, static)
        if key not in self._programs:
            make = backend.uncompiled if self.is_function else backend.compiled
            self._programs[key] = make(partial(fn, self, *static))
        return partial(self._run, self._programs[key])

    def _run(self, compiled: Callable[..., Any], *tensors: Any) -> Any:
        with self._own_draws():
            return compiled(self.weights(), *tensors)

    # -- a randomised model -----------------------------------------------------------------------

    @contextmanager
    def drawing(self, seed: int) -> Iterator[None]:
        """Within, what a randomised Keras model draws is named by `seed` and by the number of the call alone."""
        before = self._seed, self._calls
        self._seed, self._calls = seed, 0
        try:
            yield
        finally:
            self._seed, self._calls = before

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """One call with random states of its own, other ones each time; those of the model are put back."""
        self._calls += 1
        kept = [(state, ops.copy(state.value)) for state in self._random_states()]
        try:
            for i, (state, _) in enumerate(kept):
                words = np.random.SeedSequence([self._seed, self._calls, i]).generate_state(2)
                state.assign((words >> 2).astype(state.dtype))  # torch adds the two, in 32 bits with a sign
            yield
        finally:
            for state, value in kept:
                state.assign(value)

    def _random_states(self) -> list[Any]:
        if self._random is not None:
            return self._random
        variables = self.model.non_trainable_variables if self.is_keras else []
        return [v for v in variables if v.name.startswith("seed_generator")]

    # -- arrays: what everybody else asks --------------------------------------------------------

    def logits(self, x: np.ndarray, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Logits of images x [n, ...] as a NumPy array [n, k]; memory is bounded by the batch."""
        x = np.asarray(x, np.float32)
        self.settle(x)
        run = self.program(_logits)
        out = np.empty((len(x), self.num_classes), np.float32)
        for start in range(0, len(x), batch_size):
            part = x[start : start + batch_size]
            whole = pad(part, bucket(min(batch_size, len(x)))) if not backend.DYNAMIC_BATCH else part
            out[start : start + len(part)] = backend.to_numpy(run(ops.convert_to_tensor(whole)))[: len(part)]
            self.queries += len(part)
        return out

    def predict(self, x: np.ndarray, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Class of each image, int64 [n]; -1 where a logit is not finite."""
        return decide(self.logits(x, batch_size))

    def settle(self, x: np.ndarray) -> None:
        """Look at one example once: build the model, find its classes, prove a guessed tail."""
        if self._settled == x.shape[1:] or not len(x):
            return
        one = np.asarray(x[:1], np.float32)
        try:
            if (
                self.is_keras and len(getattr(self.model, "outputs", None) or [0]) == 1
            ):  # called once as it is: a subclassed model is built by its first call
                raw = backend.to_numpy(self._raw(one))
                self._tail = self._proven_tail(one, raw) if self.outputs != "logits" else None
            with self.drawing(0), self._own_draws():
                self.num_classes = int(self.forward(self.weights(), ops.convert_to_tensor(one)).shape[-1])
        except (ShapeError, ModelError):
            raise
        except Exception as error:
            raise self._refused(one, error) from error
        self._settled = x.shape[1:]
        self._random = self._random_states()

    def _raw(self, x: np.ndarray) -> Any:
        with self.drawing(0), self._own_draws():  # the same draws each time: two looks can be compared
            return self.model(ops.convert_to_tensor(x), training=False)

    def _proven_tail(self, x: np.ndarray, raw: np.ndarray) -> tail.Tail | None:
        if raw.ndim != 2 or not np.isfinite(raw).all():
            return self._tail  # nothing to compare with
        guesses = [self._tail] if self._tail else tail.guesses(self.model) if 0 <= raw.min() <= raw.max() <= 1 else []
        for guess in guesses:
            with guess.lifted():
                lifted = backend.to_numpy(self._raw(x))
            if tail.proven(guess, lifted, raw):
                return guess
        return None

    def _refused(self, x: np.ndarray, error: Exception) -> Exception:
        wanted = getattr(self.model, "input_shape", None)
        if wanted and tuple(wanted[1:]) != x.shape[1:]:
            return ShapeError.expected(
                f"The model takes images of shape {tuple(wanted[1:])}.",
                f"images of shape {x.shape[1:]}",
                "Resize them, or add or drop the channel axis.",
            )
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return ModelError.expected(
            f"The model must accept a float32 batch of shape {x.shape}.",
            f"{type(error).__name__}: {first}",
            "Call it on such a batch yourself to see the whole error.",
        )

    # -- checks on what comes in -----------------------------------------------------------------

    def checked_images(self, x: Any) -> np.ndarray:
        """Images as float32 [n, ...] inside the bounds; anything else is an error that says what to do."""
        x = as_batch(backend.to_numpy(x) if ops.is_tensor(x) else np.asarray(x))
        if not np.isfinite(x).all():
            bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
            raise BoundsError.expected(
                "`x` must be finite.",
                f"NaN or infinity in {len(bad)} of {len(x)} images, the first at index {bad[0]}",
                "Remove or repair them.",
            )
        self._inside(x)
        return x

    def _inside(self, x: np.ndarray) -> None:
        low, high = self.bounds
        try:
            fits = np.broadcast_shapes(low.shape, high.shape, x.shape[1:]) == x.shape[1:]
        except ValueError:
            fits = False
        if not fits:
            raise BoundsError.expected(
                f"`bounds` must be numbers, or arrays that broadcast against one image of shape {x.shape[1:]}.",
                f"bounds of shape {low.shape} and {high.shape}",
            )
        slack = 1e-6 * (high - low)
        if len(x) and ((x < low - slack).any() or (x > high + slack).any()):
            raise BoundsError.expected(
                f"`x` must lie in the declared bounds {say_bounds(self.bounds)}.",
                f"min={x.min():.4g}, max={x.max():.4g}",
                "Rescale the images, or declare the range the model was "
                "trained on: bounds=(low, high) in Python, --bounds LOW HIGH on the command line.",
            )

    def checked_labels(self, labels: Any, n: int, what: str = "labels") -> np.ndarray:
        """Classes as int64 [n], from [n], [n, 1] or one-hot [n, k]."""
        y = np.asarray(backend.to_numpy(labels) if ops.is_tensor(labels) else labels)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 2 and y.shape[1] == self.num_classes and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all():
            y = y.argmax(1)
        if y.shape != (n,) or y.dtype.kind not in "iufb" or (y != np.floor(y)).any():
            raise LabelError.expected(
                f"`{what}` must be {n} class numbers: [n], [n, 1] or one-hot [n, classes].",
                f"shape {y.shape}, dtype {y.dtype}",
            )
        if n and (y.min() < 0 or y.max() >= self.num_classes):
            raise LabelError.expected(
                f"`{what}` must be classes 0 to {self.num_classes - 1} of this model.",
                f"values from {y.min():g} to {y.max():g}",
                "Count classes from 0, in the model's own order.",
            )
        return y.astype(np.int64)


def checked_classifier(classifier: Any, what: str) -> Classifier:
    """A `Classifier`; `what` says who needs one."""
    if not isinstance(classifier, Classifier):
        raise ModelError.expected(what, type(classifier).__name__, "Wrap it: Classifier(model, bounds=(0, 1)).")
    return classifier


def _logits(classifier: Classifier, weights: Any, x: Any) -> Any:
    return classifier.forward(weights, x)


def as_batch(x: np.ndarray) -> np.ndarray:
    """A batch of numeric images as float32 [n, ...]; anything else is a `ShapeError`."""
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise ShapeError.expected(
            "`x` must be a batch of numeric images [n, ...].",
            f"shape {x.shape}, dtype {x.dtype}",
            "A single image needs x[None].",
        )
    return x.astype(np.float32, copy=False)


def decide(logits: np.ndarray) -> np.ndarray:
    """Class with the largest logit, int64 [n]; -1 where any logit is not finite (argmax would pick the NaN)."""
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)


def bucket(n: int) -> int:
    """The next power of two: the few batch sizes that programs of static shape are compiled for."""
    return 1 << max(0, n - 1).bit_length()


def pad(x: np.ndarray, n: int) -> np.ndarray:
    """Repeat the last row until there are n."""
    return x if len(x) == n else np.concatenate([x, np.repeat(x[-1:], n - len(x), axis=0)])


def say_bounds(bounds: tuple[np.ndarray, np.ndarray]) -> str:
    """Bounds in as few characters as they need."""
    return "[" + ", ".join(str(np.unique(b).tolist()) if b.size > 1 else f"{b.item():g}" for b in bounds) + "]"


def _checked_bounds(bounds: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        low, high = (np.asarray(b, np.float32) for b in bounds)
    except (TypeError, ValueError):
        raise BoundsError.expected("`bounds` must be a pair (low, high).", repr(bounds)) from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise BoundsError.expected("`bounds` must be finite with low < high.", f"{low.tolist()}, {high.tolist()}")
    return low, high


def _parameters(model: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(model).parameters)
    except (TypeError, ValueError):
        return ()
