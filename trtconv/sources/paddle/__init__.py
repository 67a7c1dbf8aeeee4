"""Paddle: programs of three generations (``__model__``, ``.pdmodel``, ``.json``) and their parameters."""
