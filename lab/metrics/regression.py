"""Metrics of regressors: errors in the target's unit, and the share of variance explained."""

import torch
from torch import Tensor

from lab.metrics.base import Metric, require_same_shape, wide


class _MeanError(Metric):
    """The mean of a function of the residual over all elements of all batches."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._elements = 0
        self._sum: Tensor | None = None  # 0-dim float64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Raw output and target of the same shape (N, ...).

        Raises:
            ValueError: the shapes differ.
        """
        require_same_shape(prediction, target)
        error = self._error(wide(prediction) - wide(target)).sum()
        self._elements += target.numel()
        self._sum = error if self._sum is None else self._sum + error

    def compute(self) -> Tensor:
        """The value ≥ 0, 0-dim float32; NaN without any sample."""
        if self._sum is None:
            return torch.tensor(torch.nan)
        return self._finish(self._sum / self._elements).float()

    def _error(self, residual: Tensor) -> Tensor:
        raise NotImplementedError

    def _finish(self, mean: Tensor) -> Tensor:
        return mean


class MAE(_MeanError):
    """Mean absolute error, in the target's unit; several outputs count as more elements."""

    def _error(self, residual: Tensor) -> Tensor:
        return residual.abs()


class RMSE(_MeanError):
    """Root of the mean squared error, in the target's unit; several outputs count as more elements."""

    def _error(self, residual: Tensor) -> Tensor:
        return residual.square()

    def _finish(self, mean: Tensor) -> Tensor:
        return mean.sqrt()


class R2(Metric):
    """Coefficient of determination, 1 − Σ(y − ŷ)² / Σ(y − ȳ)²: 1 is perfect, 0 is as good as the mean of y.

    Several outputs are averaged, each with its own mean, as scikit-learn does by default. A constant target
    gives 1 where it is met exactly and 0 otherwise. Targets are taken relative to the first one, so that a
    constant target is exactly 0 everywhere; their spread is merged batch by batch around each batch's own
    mean (Chan, Golub & LeVeque 1979), because Σy² − nȳ² cancels as soon as y is far from 0.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._samples = 0
        self._first: Tensor | None = None  # the first target, (outputs,) float64, as all that follows
        self._state: tuple[Tensor, Tensor, Tensor] | None = None  # residual, mean, spread: (outputs,) each

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Raw output and target of the same shape, (N,) or (N, outputs).

        Raises:
            ValueError: the shapes differ.
        """
        require_same_shape(prediction, target)
        samples = len(target)
        if samples == 0:
            return
        truth = wide(target).reshape(samples, -1)
        residual = (wide(prediction).reshape(samples, -1) - truth).square().sum(0)
        if self._first is None:
            # A state without one comes from a checkpoint of a version that measured from 0.
            self._first = truth[0].clone() if self._state is None else torch.zeros_like(truth[0])
        truth = truth - self._first
        mean = truth.mean(0)
        spread = (truth - mean).square().sum(0)
        if self._state is not None:
            before, old_mean, old_spread = self._state
            total = self._samples + samples
            shift = mean - old_mean
            residual = before + residual
            spread = old_spread + spread + shift.square() * (self._samples * samples / total)
            mean = old_mean + shift * (samples / total)
        self._samples += samples
        self._state = residual, mean, spread

    def compute(self) -> Tensor:
        """The value ≤ 1, 0-dim float32; NaN for fewer than two samples, for which it is not defined."""
        if self._state is None:
            return torch.tensor(torch.nan)
        residual, mean, spread = self._state
        if self._samples < 2:
            return torch.full_like(mean[0], torch.nan).float()
        constant = torch.where(residual == 0, 1.0, 0.0)
        explained = torch.where(spread == 0, constant, 1 - residual / torch.where(spread == 0, 1.0, spread))
        return explained.mean().float()
