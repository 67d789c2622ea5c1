"""Training of focal-stack models: recipes, simulated data, losses and the training loop."""
