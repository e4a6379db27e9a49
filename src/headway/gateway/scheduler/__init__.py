"""Decides, and never touches a byte: who may come in, who goes next and where, what is learned."""
