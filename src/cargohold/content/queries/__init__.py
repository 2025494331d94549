"""All SQL of the images, one module per noun: repositories, blobs, manifests, tags, uploads, journal.

Functions are named for the question and take a `Reader` or a `Work`; rows are frozen structs.
"""
