"""SmoothGrad's draws: what they are and what they depend on."""

import numpy as np
from keras import ops

from hoplon import Classifier
from hoplon.explain import Saliency, SmoothGrad


def squares(x):
    """Its gradient at x is 2x, so the mean gradient shows the mean of the noisy copies."""
    total = ops.sum(ops.square(x), axis=1, keepdims=True)
    return ops.concatenate([total, -total], axis=1)


X = np.random.default_rng(0).uniform(size=(3, 6)).astype("float32")


def noise_of(bounds=(0.0, 1.0), **call):
    """The mean noise that was added to each image, read off the gradients."""
    options = {"draws": call.pop("draws", 4), "noise": call.pop("noise", 0.5)}
    x = call.pop("x", X)
    return (
        SmoothGrad(**options)(Classifier(squares, bounds=bounds), x, np.zeros(len(x), int), **call).attributions / 2 - x
    )


def test_no_noise_is_saliency():
    classifier = Classifier(squares)
    calm = SmoothGrad(noise=0.0, draws=3)(classifier, X).attributions
    np.testing.assert_allclose(calm, Saliency()(classifier, X).attributions, rtol=1e-6)


def test_seed_and_number_name_the_draws_and_nothing_else_does():
    first = noise_of(seed=1)
    assert np.abs(first - noise_of(seed=2)).min() > 0
    np.testing.assert_allclose(noise_of(seed=1, x=X[::-1], ids=[2, 1, 0])[::-1], first, atol=1e-6)
    np.testing.assert_allclose(noise_of(seed=1, batch_size=1), first, atol=1e-6)
    assert np.abs(first[0] - first[1]).min() > 0  # each image has its own


def test_more_draws_begin_as_fewer_do():
    one, two = noise_of(draws=1), noise_of(draws=2)
    second = 2 * two - one
    assert np.abs(second - one).min() > 0
    three = 3 * noise_of(draws=3) - 2 * two
    assert np.abs(three - second).min() > 0


def test_the_noise_is_a_share_of_each_features_range():
    x = np.full((200, 6), 5.0, "float32")
    high = np.float32([10, 10, 10, 20, 20, 20])
    spread = noise_of(bounds=(np.zeros(6), high), x=x, draws=1, noise=0.2).std(axis=0)
    np.testing.assert_allclose(spread, 0.2 * high, rtol=0.15)


def test_the_noise_is_not_clipped():
    x = np.zeros((200, 6), "float32")
    drawn = noise_of(x=x, draws=1, noise=0.2)
    assert abs(np.mean(drawn < 0) - 0.5) < 0.05
