"""Bounds of a network's values over a ball of inputs: by intervals forwards, by linear functions backwards."""
