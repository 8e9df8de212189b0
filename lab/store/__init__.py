"""Files of a run, secrets kept out of them, and the definitions they record."""
