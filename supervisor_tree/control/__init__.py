"""How a host is asked and told: the control socket, the event stream, and their words."""
