"""What the tests of commands share: a trained model's file."""

import pytest

from hoplon.zoo import datasets, models


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    model = models.digits_mlp(seed=0)
    models.train(model, datasets.load("digits", "train"), epochs=8, seed=0)
    path = tmp_path_factory.mktemp("model") / "mlp.keras"
    model.save(path)
    return str(path)
