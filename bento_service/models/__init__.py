"""Models: where they come from, how they become files that an engine runs, and where those are kept.

Importing this package costs nothing: torch, timm, torchvision and bentoml are imported by the functions that need them.
"""
