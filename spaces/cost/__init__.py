"""What a configuration costs: parameters, FLOPs and bytes, known before training."""
