"""One module per place that can hold blobs: memory, files, S3. All pass the contract suite in tests/storage; app.py chooses one."""
