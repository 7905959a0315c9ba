import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semfed.algorithms.alignment.whitening import fit_whitening, to_complex, to_real
from semfed.errors import DataError


def latents(width: int, samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return mixing @ torch.randn(width, samples, generator=generator, dtype=torch.float64) + 3


@given(width=st.integers(1, 9), seed=st.integers(0, 1000))
def test_pairs_of_reals_come_back(width: int, seed: int) -> None:
    z = latents(width, 4, seed)
    c = to_complex(z)
    assert c.shape == ((width + 1) // 2, 4)
    assert torch.equal(c.real, z[: (width + 1) // 2])
    assert torch.equal(to_real(c, width), z)


@pytest.mark.parametrize("width", [8, 9])
def test_white_features_are_white_and_come_back(width: int) -> None:
    c = to_complex(latents(width, 500))
    whitening = fit_whitening(c, owner="user")
    x = whitening.apply(c)
    assert torch.linalg.matrix_norm(x @ x.mH / 499 - torch.eye(len(c))) < 1e-10
    assert x.mean(dim=1).abs().max() < 1e-10
    assert (whitening.undo(x) - c).abs().max() < 1e-9


def test_scaling_keeps_the_shape_of_the_covariance() -> None:
    c = to_complex(latents(8, 500))
    x = fit_whitening(c, owner="user", full=False).apply(c)
    assert float(x.abs().square().sum()) / 499 == pytest.approx(4)
    ratio = torch.cov(x) / torch.cov(c)
    assert (ratio - ratio[0, 0]).abs().max() < 1e-10


def test_too_few_pilots() -> None:
    with pytest.raises(DataError, match="pilots = 4 is too few for the 4 features of user 'A': use more than 4"):
        fit_whitening(to_complex(latents(8, 4)), owner="user 'A'")


def test_values_that_are_not_finite() -> None:
    z = latents(8, 50)
    z[3, 7] = float("nan")
    with pytest.raises(DataError, match="latents of user have values that are not finite"):
        fit_whitening(to_complex(z), owner="user")


@pytest.mark.parametrize("damage", ["copy", "constant"])
def test_singular_covariance_needs_a_ridge(damage: str) -> None:
    c = to_complex(latents(8, 50))
    c[2] = c[1] if damage == "copy" else 1 + 1j
    with pytest.raises(DataError, match=r"singular covariance .* set learner\.ridge"):
        fit_whitening(c, owner="user")
    x = fit_whitening(c, owner="user", ridge=1e-6).apply(c)
    assert torch.isfinite(torch.view_as_real(x)).all()


def test_constant_latents_cannot_be_scaled() -> None:
    with pytest.raises(DataError, match="constant"):
        fit_whitening(torch.ones(3, 9, dtype=torch.complex128), owner="user", full=False)
