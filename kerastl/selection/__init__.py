"""What to start from: how well frozen features fit a task, arrays in, numbers out."""
