"""`--check` of a study: a batch at each corner of the space."""
