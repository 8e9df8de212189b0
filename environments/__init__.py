"""Environments that are made to be tested in, each a command: `python -m environments.upgrade`.

They run before anything is installed, so they need nothing but Python.
"""
