"""What one trial does: train, compress, measure. Knows nothing of Ray, Optuna or MLflow."""

import logging

# Before torch and transformers: pydantic looks for the source of each class among all modules that
# are imported, which takes seconds once there are thousands.
import spaces.file.search_file  # noqa: F401

# transformers imports torchao where it is installed, which warns of GPU kernels that are not there.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
