"""Evaluation of models on focal stacks: what is measured, and the report that shows it."""
