"""Work that no client waits for: a bounded queue, and the requests that are answered once more."""
