"""What is minimised besides the task's loss."""
