"""A model's answers, scored and compared; whether a candidate may serve."""
