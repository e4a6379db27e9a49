"""Narayanan et al. 2023: idealized runtimes as published."""
