"""Real clients, one file each. A class per client: what it needs, how it is set up, and its scenarios in their order."""
