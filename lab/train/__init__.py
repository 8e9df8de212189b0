"""What a training consists of beside the Trainer: its loop's parts, its state, its checks, its callbacks."""
