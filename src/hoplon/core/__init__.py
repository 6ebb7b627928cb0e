"""The ground everything stands on: backend, classifier, norms, losses, results, registry, errors."""
