"""Predictions against measured kernel times: reading measurements, predicting each row, error statistics."""
