"""How Sphinx builds the documentation: `nox -s docs`."""

from milepost._version import __version__

project = "milepost"
author = "The milepost authors"
copyright = "The milepost authors"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"milepost {version}"
html_copy_source = False
