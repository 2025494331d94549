"""The suite. One folder per room of src/cargohold, and: protocol/ (a real socket), house/ (the house's own rules),
bad_input/, durability/, limits/ (what must hold when things go wrong). `make test` runs all but what is marked `soak`."""
