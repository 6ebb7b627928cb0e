"""Reshaped kernel orthogonalisation (RKO): the kernel, read as matrices, is made orthogonal and scaled.

Li et al. 2019 (arXiv:1911.00937), Serrurier et al. 2021 (arXiv:2006.06520).
"""

from typing import Any, ClassVar

from keras import ops

from ...core.signatures import Shown
from ..initializers import SpectralInitializer
from ..orthogonal import ORTHOGONALIZERS, bjorck, capped, require_rko, spectral


class ReshapedKernel:
    """`norm_one` by orthogonal matrices; named before `Reparametrised`.

    `orthogonalizer`: newton_schulz (the polar factor), cholesky (Gram and Schmidt's, the cheapest) or bjorck (the
    polar factor by `maxiter_bjorck` steps on the matrix). `eps_bjorck=None` or `beta_bjorck=None` only divides by the
    spectral norm. `eps_spectral` and `maxiter_spectral` are checked and kept for configurations of the reference
    work; the norm is bounded here by a fixed number of squarings, from above.
    """

    kernel: Any
    initializer_option = "kernel_initializer"
    shown_defaults: ClassVar[dict[str, Any]] = {"kernel_initializer": Shown("SpectralInitializer()")}

    def __init__(
        self,
        *args: Any,
        orthogonalizer: str = "newton_schulz",
        eps_spectral: float = 1e-3,
        eps_bjorck: float | None = 1e-3,
        beta_bjorck: float | None = 0.5,
        maxiter_spectral: int = 10,
        maxiter_bjorck: int = 15,
        **options: Any,
    ) -> None:
        require_rko(orthogonalizer, eps_spectral, eps_bjorck, beta_bjorck, maxiter_spectral, maxiter_bjorck)
        # a new initializer for each layer: one object shared by all gives all kernels of one shape the same values
        options.setdefault(self.initializer_option, SpectralInitializer())
        super().__init__(*args, **options)
        self.orthogonalizer = orthogonalizer
        self.eps_spectral, self.maxiter_spectral = eps_spectral, maxiter_spectral
        self.eps_bjorck, self.beta_bjorck, self.maxiter_bjorck = eps_bjorck, beta_bjorck, maxiter_bjorck

    def blocks(self) -> int:
        """How many groups of outputs are matrices of their own."""
        return 1

    def factor(self) -> float:
        """What a kernel of matrices of norm 1 is multiplied by for the operator's norm to be at most 1."""
        return 1.0

    def matrices(self, kernel: Any) -> Any:
        """The kernel as the matrices that are made orthogonal, [n, m] or [blocks, n, m]."""
        if self.blocks() == 1:
            return ops.reshape(kernel, (-1, kernel.shape[-1]))
        taps = ops.reshape(kernel, (-1, self.blocks(), self.outputs() // self.blocks()))
        return ops.transpose(taps, (1, 0, 2))

    def outputs(self) -> int:
        """Number of output channels."""
        return self.kernel.shape[-1]

    def kernel_of(self, matrices: Any) -> Any:
        """Back from `matrices`."""
        w = matrices if self.blocks() == 1 else ops.transpose(matrices, (1, 0, 2))
        return ops.reshape(w, self.kernel.shape)

    def orthogonal(self, matrices: Any) -> Any:
        """Matrices of norm at most 1, up to rounding."""
        if self.eps_bjorck is None or self.beta_bjorck is None:
            return spectral(matrices)
        if self.orthogonalizer == "bjorck":
            return bjorck(matrices, self.maxiter_bjorck, self.beta_bjorck)
        return ORTHOGONALIZERS[self.orthogonalizer](matrices)

    def norm_one(self, kernel: Any) -> Any:
        return self.kernel_of(self.orthogonal(self.matrices(kernel))) * self.factor()

    def exact(self, kernel: Any) -> Any:
        return self.kernel_of(capped(self.orthogonal(self.matrices(kernel)))) * self.factor()

    def get_config(self) -> dict[str, Any]:
        names = ("orthogonalizer", "eps_spectral", "eps_bjorck", "beta_bjorck", "maxiter_spectral", "maxiter_bjorck")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}  # type: ignore[misc]
