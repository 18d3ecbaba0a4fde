"""What the reference posteriors are: data and inputs by name, model by code, two exact samplers."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["POSTERIORS", "Call", "Posterior"]


class Call(NamedTuple):
    """A function of the package, or of ``networks``, by its name, and its arguments."""

    function: str
    arguments: dict[str, Any]


class Sampler(NamedTuple):
    """A sampler, and what it changes in how (not in what) the model is written."""

    function: str
    arguments: dict[str, Any]
    model: dict[str, Any] = {}  # noqa: RUF012


class Posterior(NamedTuple):
    """A posterior and its two samplers, of which the first gives the draws."""

    description: str
    data: Call
    inputs: dict[str, Any]
    model: Call
    outputs: tuple[str, ...]
    samplers: tuple[Sampler, Sampler]


HIDDEN_2 = ["hidden_1", "hidden_2"]
HIDDEN_1 = ["hidden_1"]


def one_layer(draws: int = 1000, **model: Any) -> tuple[Sampler, Sampler]:
    """Both samplers of a network with one hidden layer; ``model`` is to how it is written."""
    nuts = {
        "draws": draws, "tune": 500, "chains": 4, "target_accept": 0.8, "exchangeable": HIDDEN_1
    }  # fmt: skip
    mclmc = {"draws": draws, "tune": 2000, "thin": 40, "chains": 4}
    return Sampler("sample_nuts", nuts, model), Sampler("sample_mclmc", mclmc, model)


def table(
    name: str, split: int | str, held_out: int, *, hidden: int, noise_sd: float, draws: int = 1000
) -> Posterior:
    """A UCI table under a small network whose noise sd is known, in the units of the target.

    A noise sd that is learned from these tables is small, and the posterior then so narrow that
    NUTS does not mix; this one is some .1 to .8 sds of the target.
    """
    gap = {"gap": "held_out"} if isinstance(split, str) else {}
    cut = (
        f"without the middle third of input {split[4:]}"
        if isinstance(split, str)
        else (f"standard split {split}")
    )
    return Posterior(
        f"{name}, {cut}, a network of {hidden} tanh units with a noise sd of {noise_sd:g}",
        Call("uci", {"name": name, "split": split}),
        {"held_out": held_out, "training": 40, **gap},
        Call(
            "mlp_regression", {"hidden": [hidden], "heteroskedastic": False, "noise_sd": noise_sd}
        ),
        ("mu",),
        one_layer(draws, marginal_output=True),
    )  # fmt: skip


POSTERIORS: dict[str, Posterior] = {
    "moons": Posterior(
        "two moons of chapter 1, a 2-5-5-1 network of tanh units without biases",
        Call("two_moons", {"n": 1000, "noise": 0.2, "test_size": 0.5, "seed": 0}),
        {"held_out": 100, "grid": [[-3, 3, 10], [-3, 3, 10]]},
        Call("mlp_classifier", {"hidden": [5, 5]}),
        ("p",),
        (
            Sampler(
                "sample_nuts",
                {
                    "draws": 1500, "tune": 600, "chains": 4, "target_accept": 0.9,
                    "exchangeable": HIDDEN_2,
                },
            ),
            Sampler("sample_mclmc", {"draws": 1500, "tune": 3000, "thin": 100, "chains": 4}),
        ),
    ),
    "boxes": Posterior(
        "four boxes of chapter 3, a 2-3-2-1 network of tanh units",
        Call("boxes", {"n": 80, "seed": 1234}),
        {"held_out": 80, "grid": [[-6, 6, 11], [-6, 6, 11]], "gap": 0.6},
        Call(
            "mlp_classifier", {"hidden": [3, 2], "bias": True, "prior_sd": 1 / 0.3}
        ),
        ("p",),
        (
            Sampler(
                "sample_tempered",
                {"draws": 1000, "tune": 1000, "thin": 10, "chains": 4, "n_temperatures": 10},
            ),
            Sampler(
                "sample_nuts",
                {
                    "draws": 30_000, "tune": 600, "chains": 4, "target_accept": 0.9,
                    "exchangeable": HIDDEN_2,
                },
            ),
        ),
    ),
    "waves": Posterior(
        "cosine seen in four clusters (chapter 4), a 1-50-1 network of tanh units with a noise sd "
        "that depends on x",
        Call("wave_clusters", {"n": 400, "function": "cos", "seed": 0}),
        {"held_out": 80, "grid": [[-6, 8, 57]], "gap": 0.1},
        Call(
            "mlp_regression",
            {"hidden": [50], "prior_sd": [3.0, 2 / 50**0.5], "scale_prior_sd": 0.5},
        ),
        ("mu", "sigma"),
        (
            Sampler(
                "sample_nuts",
                {
                    "draws": 2000, "tune": 500, "chains": 4, "target_accept": 0.8,
                    "exchangeable": HIDDEN_1,
                },
                {"marginal_output": True},
            ),
            Sampler(
                "sample_mclmc",
                {"draws": 1000, "tune": 3000, "thin": 30, "chains": 4},
                {"marginal_output": True},
            ),
        ),
    ),
    "groups": Posterior(
        "eighteen groups of chapter 2, a hierarchical 2-5-5-1 network of tanh units",
        Call("grouped_moons", {"n_groups": 18, "n_per_group": 100, "noise": 0.3, "seed": 31}),
        {"held_out": 10},
        Call("hierarchical_mlp_classifier", {"hidden": [5, 5]}),
        ("p",),
        (
            Sampler(
                "sample_nuts",
                {
                    "draws": 2500, "tune": 1000, "chains": 4, "target_accept": 0.9,
                    "exchangeable": HIDDEN_2, "dtype": "float32",
                },
                {"centred": [False, False, "location"]},
            ),
            Sampler(
                "sample_mclmc",
                {"draws": 3000, "tune": 30_000, "thin": 400, "chains": 4, "dtype": "float32"},
                {"centred": [False, False, "location"]},
            ),
        ),
    ),
    "energy-gap": table("energy", "gap:0", 120, hidden=10, noise_sd=2.0),
    "yacht": table("yacht", 0, 31, hidden=10, noise_sd=2.0),
    "digits": Posterior(
        "threes, fives and eights among the 8 x 8 digits, a 64-4-3 network of tanh units",
        Call("digits", {"classes": [3, 5, 8]}),
        {"held_out": 60},
        Call(
            "mlp_classifier", {"hidden": [4], "n_classes": 3, "bias": True,
                               "prior_sd": "1/sqrt(fan_in)"},
        ),
        ("p",),
        one_layer(),
    ),
    "wine": table("wine-quality-red", 0, 160, hidden=5, noise_sd=0.65),
    "yacht-gap": table("yacht", "gap:5", 103, hidden=10, noise_sd=2.0),
    "concrete": table("concrete", 0, 103, hidden=10, noise_sd=6.0, draws=4000),
    "concrete-gap": table("concrete", "gap:7", 120, hidden=5, noise_sd=8.0, draws=3000),
    "energy": table("energy", 0, 77, hidden=10, noise_sd=2.0, draws=4000),
    "convolution": Posterior(
        "threes, fives and eights among the 8 x 8 digits, a convolution by three 4 x 4 filters "
        "with stride 2, tanh, and one dense layer",
        Call("digits", {"classes": [3, 5, 8]}),
        {"held_out": 60},
        Call("convolution", {"channels": 3, "n_classes": 3}),
        ("p",),
        (
            Sampler("sample_nuts", {"draws": 1000, "tune": 500, "chains": 4}),
            Sampler("sample_mclmc", {"draws": 1000, "tune": 2000, "thin": 40, "chains": 4}),
        ),
    ),
}  # fmt: skip
