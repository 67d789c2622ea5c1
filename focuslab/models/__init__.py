"""Codes, networks, and the bundles they are stored in.

Import from the modules: `latent` (codes and lines), `frontend` (physics copies), `autoencoder` and `estimator` (the
networks), `reference` (the published network), `bundle` and `zoo` (storage).
"""
