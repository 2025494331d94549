"""The slow runs of `make soak`."""
