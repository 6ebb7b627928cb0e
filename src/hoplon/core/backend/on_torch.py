"""PyTorch underneath Keras: eager, gradients for the input alone."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

DYNAMIC_BATCH = True
CHUNK = 1  # nothing is compiled, so a longer chunk only delays the look at who is done


def stop_gradient(tensor: Any) -> Any:
    """Cut a tensor from the graph."""
    return tensor.detach()


def _map(fn: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, (tuple, list)):
        return type(tree)(_map(fn, t) for t in tree)
    return fn(tree)


def value_and_grad(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn(x) -> (scalar, aux)` becomes `g(x) -> ((scalar, aux), dx)`."""

    def run(x: Any) -> Any:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            value, aux = fn(x)
            if not value.requires_grad:  # the output does not depend on the input
                return (value, aux), torch.zeros_like(x)
            (grad,) = torch.autograd.grad(value, x, allow_unused=True)
        grad = torch.zeros_like(x) if grad is None else grad
        return (value.detach(), _map(lambda t: t.detach(), aux)), grad

    return run


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of tensors with no graph kept beyond `value_and_grad`."""

    @functools.wraps(fn)
    def run(*tensors: Any) -> Any:
        with torch.no_grad():
            return fn(*tensors)

    return run


uncompiled = compiled


def repeat(step: Callable[[Any], Any], state: Any, count: int, enough: Callable[[Any], Any] | None = None) -> Any:
    """Take `count` steps."""
    for _ in range(count):
        state = step(state)
    return state


def is_native(model: Any) -> bool:
    """Whether `model` is a `torch.nn.Module` and not a Keras model (which is one too, on this backend)."""
    return isinstance(model, torch.nn.Module) and not hasattr(model, "stateless_call")


def weights(model: Any) -> Any:
    """Nothing: eager calls read a model's weights themselves."""
    return ()


@contextmanager
def _inference(module: torch.nn.Module) -> Iterator[None]:
    """Every submodule in inference mode for one call, each put back as it was found.

    A module left in training mode would update its batch-norm statistics while it is attacked.
    """
    training = [m for m in module.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def call(model: Any, weights: Any, x: Any) -> Any:
    """Output of the model in inference mode."""
    if hasattr(model, "stateless_call"):
        return model(x, training=False)
    if not isinstance(model, torch.nn.Module):
        return model(x)
    with _inference(model):
        return model(x)


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().cpu()
        return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    return np.asarray(tensor)


def version() -> str:
    """Version of the framework."""
    return str(torch.__version__)


def devices() -> list[str]:
    """Devices the framework sees."""
    return ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
