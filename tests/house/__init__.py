"""The house's own rules as tests: budgets, maps, owners of libraries, documents and commands that cannot go stale."""
