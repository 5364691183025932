"""What a model is worth, on one page: the report, the model card."""
