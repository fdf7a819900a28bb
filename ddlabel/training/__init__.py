"""Training and prediction: one loop for experts and students, which knows neither word."""
