"""Authentication and rights, from the header to the actor."""
