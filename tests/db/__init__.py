"""The database: plans of statements, the contract of both engines, what each has alone, and the schema's history."""
