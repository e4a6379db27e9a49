"""The tables and profiles that `tests.ideal` reads, for the published method."""

from tests.ideal.conftest import a100, cases, denoised, folder, shipped

__all__ = ["a100", "cases", "denoised", "folder", "shipped"]
