"""Random streams derived from keys and from (seed, epoch, sample)."""
