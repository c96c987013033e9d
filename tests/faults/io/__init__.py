"""Failing input and output: a gateway whose n-th open, write, fsync, rename, unlink or connect fails."""
