"""Answers to images that were seen before."""
