"""The command line: what it prints where, how it ends, how fast it starts, and that the reference pages are fresh."""
