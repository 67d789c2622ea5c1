"""The published autoencoder, as a reference to train and measure against.

Five blocks of 3x3 convolutions of stride 2 (64 to 1024 channels) with batch normalisation and LeakyReLU, mirrored by
transposed convolutions, a last 3x3 convolution and a sigmoid. Planes are scaled to 0..1 by the caller.

References
----------
.. [1] I. Mazilu, S. Wang, S. Dummer, R. Veldhuis, C. Brune, N. Strisciuglio, "Defocus Blur Synthesis and Deblurring
       via Interpolation and Extrapolation in Latent Space", CAIP 2023, doi 10.1007/978-3-031-44240-7_20.
"""

from torch import Tensor, nn

__all__ = ["ReferenceAutoencoder"]


class ReferenceAutoencoder(nn.Module):
    """Planes (B, 1, Y, X) in 0..1, Y and X multiples of 32, to codes (B, 1024, Y / 32, X / 32) and back."""

    stride = 32

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> None:
        super().__init__()
        steps = list(zip((1, *widths[:-1]), widths, strict=True))
        self.encoder = nn.Sequential(*(_block(nn.Conv2d(a, b, 3, 2, 1), b) for a, b in steps))
        mirrored = [(b, a if a > 1 else widths[0]) for a, b in reversed(steps)]
        self.decoder = nn.Sequential(
            *(_block(nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1), b) for a, b in mirrored),
            nn.Conv2d(widths[0], 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def encode(self, plane: Tensor) -> Tensor:
        """Code of a plane: a plain tensor, so that codes are added and scaled as they are."""
        code: Tensor = self.encoder(plane)
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Plane of a code."""
        plane: Tensor = self.decoder(code)
        return plane

    def forward(self, plane: Tensor) -> Tensor:
        """Round trip."""
        return self.decode(self.encode(plane))


def _block(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.LeakyReLU())
