"""From a child's pipe to the lines of a log file, and back to whoever reads them."""
