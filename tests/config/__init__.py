"""Settings: where values come from, what a config.yml of registry:2 becomes, what is refused and in which words."""
