"""Erlang/OTP supervision for operating-system processes."""
