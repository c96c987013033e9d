"""Records of requests: the journal that writes them, the database that stores them."""
