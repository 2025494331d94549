"""What must stay bounded: memory under large layers, the others' answers beside slow and many clients, a full disk."""
