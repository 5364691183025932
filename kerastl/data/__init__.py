"""What we learn from: images, their labels, parts, batches and changes."""
