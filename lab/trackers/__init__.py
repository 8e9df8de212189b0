"""Who writes a run's numbers down: its own files, which are the record, and the mirrors."""
