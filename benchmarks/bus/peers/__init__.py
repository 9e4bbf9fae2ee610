"""Others who carry messages, each in a program of its own."""
