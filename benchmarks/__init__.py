"""Measures supervisor_tree against its peers and its limits; see README.md."""
