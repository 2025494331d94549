"""What was acknowledged outlives the process: kill -9 under load, workers that die, connections that are cut."""
