"""What we can say about a classifier: arrays in, numbers and figures out."""
