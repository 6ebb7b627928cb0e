"""The attacks as plain functions: images in, adversarial images of the same kind out.

A NumPy array gives a NumPy array and a tensor a tensor; the values are float32. Each method has the names
and the arguments of both generations of the interface:

- `fgsm` and `fgm` leave the model's own class by gradient steps, `tgsm` and `fgmt` reach another. They take a
  `keras.Input` too, and then `keras.Model(x, x_adv)` is a crafting model.
- `deepfool` leaves it over the nearest boundary.
- `jsma` and `smda` reach a class by a few features, pushed far.
- `cw` reaches a class by a penalty for distance and another for not being there.

A Keras model is compiled once and remembered; of others pass a Classifier to that end.

>>> x_adv = fgsm(model, x, epochs=9, eps=0.02)
>>> crafting = keras.Model(inputs, fgsm(model, inputs, epochs=9, eps=0.02))
"""

from .cw import cw
from .deepfool import deepfool
from .gradient import fgm, fgmt, fgsm, tgsm
from .saliency import jsma, smda

__all__ = ["cw", "deepfool", "fgm", "fgmt", "fgsm", "jsma", "smda", "tgsm"]
