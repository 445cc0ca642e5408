import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.kernels.pooling import average_pool, average_unpool, max_pool, max_unpool


@st.composite
def windows(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True))
    return size, kernel, stride, padding


def maps(size, seed=0, channels=3):
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.requires_grad_()


@settings(max_examples=60, deadline=None)
@given(windows())
def test_pool_equals_pytorchs_in_values_switches_and_gradient(window):
    size, kernel, stride, padding = window
    x, y = maps(size), maps(size)
    values, switches = max_pool(x, kernel, stride, padding)
    expected, indices = F.max_pool2d(y, kernel, stride, padding, return_indices=True)
    assert torch.equal(values, expected)
    assert torch.equal(switches, indices)
    weights = torch.randn(values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (values * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_unpool_of_pool_is_x_at_winning_cells_and_zero_elsewhere(window):
    size, kernel, stride, padding = window
    x = maps(size).detach()
    values, switches = max_pool(x, kernel, stride, padding)
    back = max_unpool(values, switches, size, kernel=kernel, stride=stride)
    won = torch.zeros_like(x).flatten(2).scatter(2, switches.flatten(2), 1.0).view_as(x)
    torch.testing.assert_close(back, x * won, rtol=1e-14, atol=0)


@settings(max_examples=30, deadline=None)
@given(windows())
def test_unpool_equals_a_loop_over_windows_that_takes_means(window):
    size, kernel, stride, padding = window
    _, switches = max_pool(maps(size).detach(), kernel, stride, padding)
    values = torch.randn(switches.shape, dtype=torch.float64)
    total, claims = torch.zeros(2, 3, size[0] * size[1]).double(), torch.zeros(2, 3, size[0] * size[1]).double()
    for n in range(2):
        for c in range(3):
            for value, cell in zip(values[n, c].flatten(), switches[n, c].flatten(), strict=True):
                total[n, c, cell] += value
                claims[n, c, cell] += 1
    expected = (total / claims.clamp(min=1)).view(2, 3, *size)
    torch.testing.assert_close(max_unpool(values, switches, size, kernel=kernel, stride=stride), expected)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2)])
@pytest.mark.parametrize("stride", [(1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1)])
def test_gradients_agree_with_finite_differences(kernel, stride, padding):
    size = (5, 6)
    _, switches = max_pool(maps(size, channels=2).detach(), kernel, stride, padding)
    values = torch.randn(switches.shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: max_unpool(v, switches, size, kernel=kernel, stride=stride), values)
    assert torch.autograd.gradcheck(
        lambda v: average_unpool(v, size, kernel=kernel, stride=stride, padding=padding), values
    )


def test_layout_does_not_change_the_result():
    x = torch.randn(3, 5, 8, 9)
    results = []
    for memory in (torch.contiguous_format, torch.channels_last):
        leaf = x.clone(memory_format=memory).requires_grad_()
        values, switches = max_pool(leaf, (3, 3), (2, 2), (1, 1))
        out = max_unpool(values, switches, (8, 9), kernel=(3, 3), stride=(2, 2))
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)


def test_overlapping_windows_work_under_deterministic_algorithms():
    x = torch.randn(2, 3, 8, 8)
    torch.use_deterministic_algorithms(True)
    try:
        values, switches = max_pool(x, (2, 2), (1, 1))
        first = max_unpool(values, switches, (8, 8), kernel=(2, 2), stride=(1, 1))
        with pytest.raises(RuntimeError, match="deterministic"):
            F.max_unpool2d(values, switches, 2, 1, 0, (8, 8))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, max_unpool(values, switches, (8, 8), kernel=(2, 2), stride=(1, 1)))


def test_of_equal_values_the_first_wins():
    _, switches = max_pool(torch.zeros(1, 1, 4, 4), (2, 2), (2, 2))
    assert switches.flatten().tolist() == [0, 2, 8, 10]


@settings(max_examples=40, deadline=None)
@given(windows())
def test_average_unpool_of_a_constant_is_that_constant_wherever_a_window_was(window):
    size, kernel, stride, padding = window
    pooled = average_pool(torch.full((1, 2, *size), 3.0), kernel, stride, padding)
    back = average_unpool(pooled, size, kernel=kernel, stride=stride, padding=padding)
    assert back.shape == (1, 2, *size)
    assert set(back.unique().tolist()) <= {0.0, 3.0}
    rows = {r for start in range(pooled.shape[2]) for r in range(start * stride[0], start * stride[0] + kernel[0])}
    reached = [padding[0] + r in rows for r in range(size[0])]
    assert (back[0, 0].amax(1) == 3.0).tolist() == reached
