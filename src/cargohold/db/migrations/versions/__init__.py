"""One file per revision, named by its number; each is whole or not there: all run in one transaction."""
