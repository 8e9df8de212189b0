"""A finished run used: loading it, predictions for files, export."""
