"""How agents speak to each other: direct inboxes, topics, and messages that outlive a death."""
