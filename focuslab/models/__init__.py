"""Codes, networks, and the bundles they are stored in.

Import from the modules: `latent` (codes and lines); `frontend` (physics copies) on `wiener` and `restoration`;
`autoencoder` on `networks`; `estimator` (blur level) on `evidence`; `reference` (the published network); `bundle` and
`zoo` (storage).
"""
