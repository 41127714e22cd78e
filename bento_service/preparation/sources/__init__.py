"""Sources of models, one per module. May import what `preparation` may."""
