"""The fault suite: what breaks machines, networks and files, tried for real, and what it came to."""
