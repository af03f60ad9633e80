"""GPUs of a cluster: which of them a worker sees, how trials share them, and the hours of them."""
