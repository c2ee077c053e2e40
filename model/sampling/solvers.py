"""DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095) as coefficients of data predictions.

From a point s to a point t of the probability-flow ODE, with h = lam_t - lam_s in half log-SNR
and m the data prediction as a function of it,

    x_t = (sigma_t / sigma_s) x_s + alpha_t * integral of e^(u - h) m(lam_s + u) du, 0 <= u <= h

and solvers differ only in the predictions from which they guess m. For m = 1, m = u / h and
m = (u / h)^2 / 2 the second term is

    phi_1 = alpha_t (1 - e^-h),
    phi_2 = alpha_t (1 - (1 - e^-h) / h),
    phi_3 = alpha_t (1 / 2 - (1 - (1 - e^-h) / h) / h).
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple


class Node(NamedTuple):
    """A point of the path: signal scale, noise scale and lam = ln(alpha / sigma)."""

    alpha: float
    sigma: float
    lam: float


class Coefficients(NamedTuple):
    """What follows one network call: weights of the anchor and of m_k, m_{k-1}, m_{k-2}."""

    c_x: float
    c_0: float
    c_1: float = 0.0
    c_2: float = 0.0
    update_anchor: bool = True


CLEAN = Coefficients(c_x=0.0, c_0=1.0)  # a first-order step in the limit sigma_t -> 0


def multistep_orders(steps: int, order: int, *, lower_order_final: bool) -> list[int]:
    """Order of each of `steps` multistep updates, at most `order`.

    The first updates lack history and start at order 1; with `lower_order_final` and fewer than
    15 steps the last two fall to order 2 and 1 at most.
    """
    lowered = lower_order_final and steps < 15
    return [min(order, k + 1, steps - k if lowered else order) for k in range(steps)]


def singlestep_orders(steps: int, order: int) -> list[int]:
    """Orders of single steps that make `steps` calls in all: DPM-Solver's "fast" mode.

    Order 3 never ends on a third-order step: after the threes come 2 and 1, 1, or 2, as `steps`
    is 0, 1 or 2 modulo 3. Order 2 is twos and, where `steps` is odd, a final 1. So a few steps
    are of as high an order as fits into them.
    """
    if order == 3 and steps % 3 == 0 and steps:
        return [3] * (steps // 3 - 1) + [2, 1]
    rest = steps % order
    return [order] * (steps // order) + ([rest] if rest else [])


def multistep(nodes: Sequence[Node], orders: Sequence[int]) -> list[Coefficients]:
    """Step from each node to the next with the predictions made at earlier nodes.

    Order 1 is DDIM, order 2 is DPM-Solver++(2M) in its midpoint form. Order 3 is the 3M of the
    authors' library and of diffusers, which gives the second difference of m half the weight of a
    Taylor expansion: it converges with order 2, not 3. It is kept because that is the solver
    known by this name.

    Args:
        nodes: n + 1 points, lam strictly increasing.
        orders: n orders, the k-th from 1 to min(3, k + 1).

    Returns:
        One row for each of the n steps; every row moves the anchor.
    """
    rows = []
    for k, order in enumerate(orders):
        s, t = nodes[k], nodes[k + 1]
        match order:
            case 1:
                rows.append(_first_order(s, t))
            case 2:
                rows.append(_multistep_2(nodes[k - 1], s, t))
            case _:
                rows.append(_multistep_3(nodes[k - 2], nodes[k - 1], s, t))
    return rows


def singlestep(nodes: Sequence[Node], orders: Sequence[int]) -> list[Coefficients]:
    """Step over `order` nodes at a time, calling the network at each of them.

    Order 1 is DDIM; orders 2 and 3 are DPM-Solver++(2S) and (3S) with the nodes themselves as
    inner points, as in the DiMR authors' sampler. The anchor stays until the step is complete.

    Args:
        nodes: n + 1 points, lam strictly increasing.
        orders: orders from 1 to 3 that sum to n.

    Returns:
        One row for each of the n calls.
    """
    rows = []
    for first, last in pairwise(accumulate(orders, initial=0)):
        s, t = nodes[first], nodes[last]
        match last - first:
            case 1:
                rows += [_first_order(s, t)]
            case 2:
                s1 = nodes[first + 1]
                rows += [_inner_2(s, s1), _singlestep_2(s, s1, t)]
            case _:
                s1, s2 = nodes[first + 1 : last]
                rows += [_inner_2(s, s1), _inner_3(s, s1, s2), _singlestep_3(s, s2, t)]
    return rows


def _first_order(s: Node, t: Node) -> Coefficients:
    return Coefficients(t.sigma / s.sigma, _phi_1(s, t))


def _multistep_2(r: Node, s: Node, t: Node) -> Coefficients:
    """From s to t, m linear through r and s: its slope counts phi_1 / 2."""
    slope = _phi_1(s, t) / 2 * (t.lam - s.lam) / (s.lam - r.lam)
    return Coefficients(t.sigma / s.sigma, _phi_1(s, t) + slope, -slope)


def _multistep_3(q: Node, r: Node, s: Node, t: Node) -> Coefficients:
    """From s to t, m quadratic through q, r and s.

    With distances r_0 and r_1 in units of h, the differences (m_k - m_{k-1}) / r_0 and
    (m_{k-1} - m_{k-2}) / r_1 give the slope and the curve at s; w_0 and w_1 are what m_k and
    -m_{k-2} get by way of them.
    """
    h = t.lam - s.lam
    r_0, r_1 = (s.lam - r.lam) / h, (r.lam - q.lam) / h
    slope = _phi_2(s, t)
    curve = (r_0 * slope + _phi_3(s, t)) / (r_0 + r_1)
    w_0, w_1 = (slope + curve) / r_0, curve / r_1
    return Coefficients(t.sigma / s.sigma, _phi_1(s, t) + w_0, -w_0 - w_1, w_1)


def _inner_2(s: Node, s1: Node) -> Coefficients:
    return _first_order(s, s1)._replace(update_anchor=False)


def _singlestep_2(s: Node, s1: Node, t: Node) -> Coefficients:
    slope = _phi_1(s, t) / 2 * (t.lam - s.lam) / (s1.lam - s.lam)
    return Coefficients(t.sigma / s.sigma, slope, _phi_1(s, t) - slope)


def _inner_3(s: Node, s1: Node, s2: Node) -> Coefficients:
    slope = _phi_2(s, s2) * (s2.lam - s.lam) / (s1.lam - s.lam)
    return Coefficients(s2.sigma / s.sigma, slope, _phi_1(s, s2) - slope, update_anchor=False)


def _singlestep_3(s: Node, s2: Node, t: Node) -> Coefficients:
    """The prediction at s1 enters through the state at s2 only."""
    slope = _phi_2(s, t) * (t.lam - s.lam) / (s2.lam - s.lam)
    return Coefficients(t.sigma / s.sigma, slope, 0.0, _phi_1(s, t) - slope)


def _phi_1(s: Node, t: Node) -> float:
    return -t.alpha * math.expm1(s.lam - t.lam)


def _phi_2(s: Node, t: Node) -> float:
    h = t.lam - s.lam
    return t.alpha * (math.expm1(-h) / h + 1)


def _phi_3(s: Node, t: Node) -> float:
    h = t.lam - s.lam
    return t.alpha * (0.5 - (math.expm1(-h) / h + 1) / h)
