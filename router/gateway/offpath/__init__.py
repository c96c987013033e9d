"""Work that no client waits for: a bounded queue, dollars a day, and the requests that are answered once more."""
