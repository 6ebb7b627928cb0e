"""What the methods are built from: the batch that stays full, ascents, boundaries, draws, windows."""
