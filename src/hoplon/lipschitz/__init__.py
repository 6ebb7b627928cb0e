"""Build it provable: layers, losses, metrics and callbacks for networks of a known Lipschitz constant."""
