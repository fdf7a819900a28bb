"""Training and prediction: one loop for experts and students, on any device."""
