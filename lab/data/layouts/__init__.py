"""Layouts of public segmentation datasets: where images, masks and lists of sets lie in a folder."""

from lab.data.layouts.contents import Contents, Layout
from lab.data.layouts.detect import read_layout
from lab.data.layouts.values import unnamed_classes

__all__ = ["Contents", "Layout", "read_layout", "unnamed_classes"]
