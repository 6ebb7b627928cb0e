"""What several tests need: closed-form models, broken ones, and programs that compile fast."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads that wait for each other cost more than they do
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # most time on JAX is spent compiling
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def shipped_chunk():
    """One step for each program where steps are unrolled: they compile four times as fast; gives the real number."""
    from hoplon.core import backend

    shipped = backend.CHUNK
    if backend.name() == "jax":
        backend.CHUNK = 1
    yield shipped
    backend.CHUNK = shipped


@pytest.fixture(scope="module", autouse=True)
def programs_forgotten():
    """JAX keeps every program it compiled: thousands of tiny models' would fill the memory."""
    yield
    if "jax" in sys.modules and os.environ.get("KERAS_BACKEND") == "jax":
        sys.modules["jax"].clear_caches()
