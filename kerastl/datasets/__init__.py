"""What we learn from: images and labels, their splits, checks and batches."""
