"""Agents to read and to run: the demo's and the documentation's."""
