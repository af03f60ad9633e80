"""The ``frontier`` sampler on spaces of any dimensions."""
