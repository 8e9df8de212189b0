"""Layouts of public segmentation datasets: where images, masks and lists of sets lie in a folder."""

from lab.data.layouts.contents import Contents, Layout, unnamed_classes
from lab.data.layouts.detect import read_layout

__all__ = ["Contents", "Layout", "read_layout", "unnamed_classes"]
