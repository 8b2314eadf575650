"""Rows to weights: encoding, trainers, what watches over them."""
