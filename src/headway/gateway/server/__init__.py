"""Carries the bytes: our own HTTP server in front of engines, which asks the scheduler."""
