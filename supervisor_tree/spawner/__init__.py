"""Forks, reaps and signals: the one process that may, and the root's end of the line to it."""
