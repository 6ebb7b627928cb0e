"""What the explainers are built from: gradients batch by batch, paths cut at their kinks."""
