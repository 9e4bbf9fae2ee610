"""Decides, and nothing else does: pure state machines over the standard library."""
