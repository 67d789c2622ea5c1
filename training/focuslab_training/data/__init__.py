"""Where training planes come from: focal stacks on disk, or simulated ones; split by field, read lazily."""
