"""The rules of images, below both planes: blobs, uploads, manifests, tags, referrers, adoption of an old tree.

Order that every write keeps: bytes and revision links, then the row, then tag links and deletions, then the answer.
No HTTP here: callers hand in names that are parsed (names.py) and get rows, streams or errors (errors.py).
"""
