"""Trackers of a run's numbers: its own files, which are the record, and secondary trackers."""
