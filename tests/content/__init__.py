"""The rules of images, on both database engines and on files, without HTTP."""
