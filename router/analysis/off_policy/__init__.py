"""What another policy would have been worth, estimated from the requests that this one answered."""
