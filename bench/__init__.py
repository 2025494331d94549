"""`python -m bench`: us, docker-registry and nginx side by side in one run; what is compared are ratios."""
