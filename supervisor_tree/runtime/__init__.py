"""Acts: the root's loop and what it carries out for the core."""
