"""What one trial does: train, compress, measure. Knows nothing of Ray, Optuna or MLflow."""

import logging

# transformers imports torchao where it is installed, which warns of GPU kernels that are not there.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
