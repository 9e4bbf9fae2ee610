"""The bus against the bare sockets below it, and against others who carry messages."""
