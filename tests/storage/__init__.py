"""Storage: the contract of all drivers (contract.py), what each promises beyond it, and the S3 server they are tried on (weed.py)."""
