"""Every figure that the project computes, beside that of another library or of a plain loop."""
