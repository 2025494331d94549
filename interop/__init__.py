"""`python -m interop`: real clients against a real server; a client that is missing is named as not run, never counted as passed."""
