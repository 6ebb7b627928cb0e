"""Networks translated from Keras: what all certificates but the sampled ones are computed on."""

from .network import LayerBound, Network
from .translate import translate

__all__ = ["LayerBound", "Network", "translate"]
