"""The parts of a training beside the Trainer: the loop's parts, its state, checks and callbacks."""
