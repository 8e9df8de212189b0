"""A finished run evaluated on a split, one module a domain."""
