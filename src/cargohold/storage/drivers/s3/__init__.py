"""The S3 driver; loaded only where it is configured (storage/open.py), because its libraries are the extra `cargohold[s3]`."""
