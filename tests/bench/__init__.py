"""The bench's own arithmetic: order of rounds, ratios, verdicts, and who belongs to a process group. No server is started."""
