"""What surrounds a computation must not reach it: torch and NumPy as they are in a fresh process, on every engine.

A notebook may have set a default dtype, entered autocast or no-grad mode, asked for other kernels, or drawn from the
global random generators. None of that is in a scenario, and on other engines clients live in processes that know
nothing of it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from semfed import seeding
from semfed.errors import EngineError

MATMULS = ("cuda", "mkldnn") if hasattr(torch._C, "_get_fp32_precision_getter") else ()
"""Libraries whose precision torch keeps apart; torch 2.6 does not yet."""


@dataclass(frozen=True)
class Setting:
    """A process-wide setting of torch that can change a number.

    Attributes
    ----------
    read, write : callable
    value : object
        What it is for every computation: the default of a fresh process, but for one CPU thread, so that sums have
        one order on every machine.
    """

    read: Callable[[], Any]
    write: Callable[[Any], Any]
    value: Any

    @classmethod
    def of(cls, module: Any, name: str, value: Any) -> "Setting":
        """Return the setting that is an attribute of one of torch's modules."""
        return cls(lambda: getattr(module, name), partial(setattr, module, name), value)


def _set_determinism(mode: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])


def _flushes_denormal() -> bool:
    return sys.float_info.min / 2 == 0.0  # torch has no getter; its setter turns a flag of this thread's processor


def _matmul_precision() -> tuple[str, ...]:
    return torch.get_float32_matmul_precision(), *[
        torch._C._get_fp32_precision_getter(name, "matmul") for name in MATMULS
    ]


def _set_matmul_precision(found: tuple[str, ...]) -> None:
    """Set it as a whole, then for each library: torch has an older way to set it for one of them alone."""
    torch.set_float32_matmul_precision(found[0])
    for name, value in zip(MATMULS, found[1:], strict=True):
        torch._C._set_fp32_precision_setter(name, "matmul", value)


SETTINGS = (
    Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    Setting(torch.get_num_threads, torch.set_num_threads, 1),
    Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_determinism,
        (False, False),
    ),
    Setting(_flushes_denormal, torch.set_flush_denormal, False),
    Setting(_matmul_precision, _set_matmul_precision, ("highest", *["none"] * len(MATMULS))),
    Setting(torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled, True),
    Setting(torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark, False),
    Setting(torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic, False),
    Setting(torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32, True),
    Setting(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
    Setting(torch._C._get_mkldnn_deterministic, torch._C._set_mkldnn_deterministic, False),
    Setting.of(torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", True),
    Setting.of(torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", True),
    Setting(torch._C._get_nnpack_enabled, torch.backends.nnpack.set_flags, True),
    Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, True),
    Setting(torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, True),
    Setting(torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp, True),
    Setting(torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
)
DEFAULTS = [setting.value for setting in SETTINGS]
EXACT = ("none", "ieee")
REDUCIBLE = (
    ("generic", "all"),
    ("cuda", "all"),
    ("cuda", "matmul"),
    *(("mkldnn", op) for op in ("all", "conv", "rnn")),
)
"""Where torch's newer interface (``fp32_precision``) can ask for less precision, which cannot be put back faithfully:
values that one level takes from another cannot be told from its own."""


@contextmanager
def isolated(seed: int = 0, purpose: str = "isolated", *indices: int) -> Iterator[None]:
    """Compute as in a fresh process, and find the process afterwards as it was.

    Inside, settings of torch and NumPy have their defaults, torch has one CPU thread, gradients are recorded, nothing
    is cast, and the global random generators of torch, NumPy and Python are on a stream of their own. It can be nested:
    an inner one begins anew.

    Parameters
    ----------
    seed, purpose, *indices
        Of the stream; see `semfed.seeding`.

    Raises
    ------
    EngineError
        Inside a transform of ``torch.func``, or where ``fp32_precision`` asks for less than float32.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise EngineError("a run cannot be inside a transform of torch.func (vmap, grad, ...): call it outside")
    try:
        found = _read()
    except RuntimeError as error:  # what torch says of its two interfaces together
        raise EngineError(_reduced("torch.backends", "other than 'none'")) from error
    with ExitStack() as surroundings, seeding.own_globals(seed, purpose, *indices):
        try:
            _change(found, DEFAULTS)
            _refuse_reduced_precision()
            for context in _neutral_contexts():
                surroundings.enter_context(context)
            yield
        finally:
            _change(_read(), found)


def _read() -> list[Any]:
    return [setting.read() for setting in SETTINGS]


def _change(found: list[Any], wanted: list[Any]) -> None:
    if found == wanted:  # as it mostly is: every message of a run comes by here
        return
    for setting, is_now, value in zip(SETTINGS, found, wanted, strict=True):
        if is_now != value:
            setting.write(value)


def _neutral_contexts() -> Iterator[AbstractContextManager[Any]]:
    """Give what undoes a context around us that belongs to this thread alone."""
    yield np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")  # NumPy's own defaults
    if torch.is_inference_mode_enabled():
        yield torch.inference_mode(False)
    yield torch.enable_grad()
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            yield torch.autocast(device, enabled=False)
    if torch._C._len_torch_function_stack() and torch.get_default_device().type != "cpu":  # to ask is not cheap
        yield torch.device("cpu")


def _refuse_reduced_precision() -> None:
    for backend, operation in REDUCIBLE if MATMULS else ():
        value = torch._C._get_fp32_precision_getter(backend, operation)
        if value not in EXACT:
            module = "torch.backends" if backend == "generic" else f"torch.backends.{backend}"
            raise EngineError(_reduced(module if operation == "all" else f"{module}.{operation}", f"{value!r}"))


def _reduced(module: str, value: str) -> str:
    return f"{module}.fp32_precision is {value}, which would change numbers: set it to 'none' before the run"
