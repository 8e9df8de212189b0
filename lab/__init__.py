"""Everything around the training loop: config, data, tasks, metrics, trackers, checkpoints, reports."""

import os

# albumentations asks a package registry for news when it is imported, which costs seconds without a network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
