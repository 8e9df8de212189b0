"""What the numbers in a mask mean, wherever masks are read, learnt from or judged."""

IGNORE = 255
"""A pixel that nobody judged: no loss and no metric counts it. Masks are bytes, so no class can have it."""
