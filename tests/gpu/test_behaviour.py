"""What the GPU's backend does with a driver that is not as it should be, with memory, and with copies."""

import ctypes

import numpy as np
import pytest
from gpu_device import MARKS, cuda, device, same, standin, standin_library
from physics_cases import case
from test_agreement import PROTOCOLS, everything

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.errors import DeviceError
from edge_pigment.gradients import GradientTable
from edge_pigment.phantom import make_phantom
from edge_pigment.physics import fatbin, gpu
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.fallback import FallbackBackend
from edge_pigment.physics.gpu import open_gpu
from edge_pigment.physics.host import HostBackend
from edge_pigment.pipeline import RunOptions, choose_backend, run
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan

pytestmark = MARKS

ILLEGAL_ADDRESS, OUT_OF_MEMORY = 700, 2
CASE = case(1000, *PROTOCOLS["six"])


def test_the_first_voxels_are_those_of_the_cpu(cuda):
    cuda.verify()
    assert cuda.name.startswith("cuda (")


def test_a_gpu_that_computes_something_else_is_not_taken(cuda, monkeypatch):
    monkeypatch.setattr(cuda.gpu, "launch", lambda *arguments: None)
    with pytest.raises(DeviceError, match="computes something else"):
        cuda.verify()


def test_auto_takes_the_gpu_and_says_so(device):
    assert choose_backend("auto", 1).name == CudaBackend().name
    assert choose_backend("cuda", 1).name == CudaBackend().name
    assert choose_backend("cpu", 1).name.startswith("host")


def refused(message: str) -> None:
    """Both of what a user sees: the reason under cuda, the CPU under auto."""
    open_gpu.cache_clear()
    with pytest.raises(DeviceError, match=message) as raised:
        choose_backend("cuda", 1)
    assert str(raised.value).startswith("--device cuda cannot be had")
    auto = choose_backend("auto", 1)
    assert isinstance(auto, FallbackBackend)
    assert auto.name.startswith("host")
    assert auto.failure


def test_no_device(standin):
    standin.standin_set_devices(0)
    refused("no GPU number 0")


def test_a_driver_that_does_not_start(standin):
    standin.standin_fail(b"cuDevicePrimaryCtxRetain", 1, OUT_OF_MEMORY)
    with pytest.raises(DeviceError, match="out of memory"):
        open_gpu.__wrapped__()


def test_no_pycuda(device, monkeypatch):
    def missing(name):
        raise ImportError("No module named 'pycuda'")

    monkeypatch.setattr(gpu.importlib, "import_module", missing)
    refused("PyCUDA cannot be imported")


def test_no_driver(device, monkeypatch):
    def missing(name):
        raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(gpu.importlib, "import_module", missing)
    refused("driver is not installed")


def test_no_code_for_the_gpu_and_no_compiler(standin, monkeypatch):
    standin.standin_set_no_binary(1)
    monkeypatch.setattr(fatbin, "find_nvcc", lambda: None)
    refused("there is code for sm_75, sm_80, .*sm_87.* made by CUDA 13")


def test_no_code_for_the_gpu_but_a_compiler(standin, tmp_path, monkeypatch):
    if fatbin.find_nvcc() is None:
        pytest.skip("no nvcc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where PyCUDA keeps what it has compiled
    expected = everything(CudaBackend(), CASE)
    standin.standin_set_no_binary(1)
    standin.standin_set_sm(87)
    open_gpu.cache_clear()
    backend = CudaBackend()
    assert backend.name.endswith("sm_87, compiled here)")
    same(everything(backend, CASE), expected)
    standin.standin_set_sm(90)


def test_too_little_memory_even_for_one_block(standin):
    standin.standin_set_memory(gpu.HEADROOM + 10_000)
    with pytest.raises(DeviceError, match="MiB to spare"):
        everything(CudaBackend(), CASE)


def test_a_scan_larger_than_the_memory_is_cut_into_slabs(standin):
    expected = everything(CudaBackend(), CASE)
    standin.standin_set_memory(gpu.HEADROOM + 4 * 116 * 300)
    with CudaBackend().hold(*CASE.measured()) as scan:
        assert not scan.resident
    same(everything(CudaBackend(), CASE), expected)


def test_shared_memory_is_not_taken_whole(standin):
    standin.standin_set_integrated(1)
    open_gpu.cache_clear()
    standin.standin_set_memory(3 * 2**30)
    assert open_gpu().budget() == 2**30
    standin.standin_set_memory(2**29)
    assert open_gpu().budget() == 0


def test_all_memory_is_given_back_and_no_context_stays_current(standin):
    everything(CudaBackend(), CASE)
    assert standin.standin_allocated() == 0
    assert standin.standin_contexts() == 0
    with pytest.raises(ZeroDivisionError), CudaBackend().hold(*CASE.measured()):
        raise ZeroDivisionError
    assert standin.standin_allocated() == 0


def test_the_signal_goes_up_once_and_only_what_maps_are_made_of_comes_back(standin):
    y, _, _, sigma = CASE.measured()
    mean, factor, nu = CASE.prior()
    with CudaBackend().hold(*CASE.measured()) as scan:
        up = standin.standin_bytes_up()
        assert up - y.nbytes - sigma.nbytes < 10_000  # the protocol
        scan.summarise()
        before = standin.standin_bytes_down()
        outcome = scan.adapt(mean, factor, nu)
        assert 0 <= standin.standin_bytes_up() - up - mean.nbytes - factor.nbytes < 10_000
        assert standin.standin_bytes_down() - before == sum(a.nbytes for a in outcome) == 4 * 31 * len(sigma)


def test_pinned_memory_is_used_again_once_nobody_refers_to_it(cuda):
    one = cuda.empty((100, 1000))
    one[:] = 1
    view = one[3]
    del one
    other = cuda.empty((100, 1000))  # a view of the first is alive
    other[:] = 2
    assert (view == 1).all()
    address = other.ctypes.data
    del other
    assert cuda.empty((100, 900)).ctypes.data == address
    assert cuda.empty((3,)).shape == (3,)


def test_without_pinned_memory_it_works_too(standin):
    expected = everything(CudaBackend(), CASE)
    open_gpu.cache_clear()
    backend = CudaBackend()
    standin.standin_fail(b"cuMemHostAlloc", 1, OUT_OF_MEMORY)
    same(everything(backend, CASE), expected)


def test_another_library_in_the_process_keeps_its_context(cuda):
    with cuda.gpu.current():
        everything(cuda, CASE)
        assert cuda.gpu.driver.mem_get_info()[0] > 0  # the context is current as before


@pytest.fixture(scope="module")
def acquisition():
    protocol = Protocol(voxel=(4.0, 4.0, 5.0), shells=(Shell(b=1000.0, directions=6),), b0=1)
    scan = simulate_scan(make_phantom(3.0).subject, protocol, Noise(snr=12), seed=1)
    return Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)


def test_a_run_gives_the_maps_of_the_cpu(acquisition, cuda):
    ours = run(acquisition, RunOptions(device="cuda", threads=2))
    theirs = run(acquisition, RunOptions(device="cpu", threads=2))
    assert ours.provenance["Device"]["Kernels"] == cuda.name
    assert np.abs(ours.maps["FA"] - theirs.maps["FA"]).max() < 1e-4


@pytest.mark.parametrize(
    ("function", "after"),
    [
        (b"cuMemHostAlloc", 1),
        (b"cuMemAlloc", 1),
        (b"cuMemcpyHtoDAsync", 3),
        (b"cuLaunchKernel", 1),
        (b"cuLaunchKernel", 2),
        (b"cuLaunchKernel", 3),
        (b"cuStreamSynchronize", 1),
        (b"cuStreamSynchronize", 2),
        (b"cuMemcpyDtoHAsync", 5),
    ],
)
def test_a_gpu_that_fails_in_mid_run_leaves_the_rest_to_the_cpu(acquisition, standin, monkeypatch, function, after):
    monkeypatch.setattr(CudaBackend, "verify", lambda self: None)  # else it would be found out before the run
    theirs = run(acquisition, RunOptions(device="cpu", threads=2))
    standin.standin_fail(function, after, ILLEGAL_ADDRESS)
    ours = run(acquisition, RunOptions(device="auto", threads=2))
    assert np.abs(ours.maps["FA"] - theirs.maps["FA"]).max() < 1e-4
    device = ours.provenance["Device"]
    assert device["Kernels"].startswith("cuda (")
    assert "after it failed host (" in device["Kernels"]
    assert "illegal memory access" in device["GPU"]
    assert any(w.startswith(texts.GPU_FAILED.split("{")[0]) for w in ours.warnings)
    open_gpu.cache_clear()
    standin.standin_reset()
    open_gpu()
    standin.standin_fail(function, after, ILLEGAL_ADDRESS)
    if function != b"cuMemHostAlloc":  # pinned memory is a convenience; the next call fails, though
        with pytest.raises(DeviceError, match="illegal memory access"):
            run(acquisition, RunOptions(device="cuda", threads=2))


def test_results_are_there_when_a_call_returns(standin):
    """The stand-in does nothing before something waits for it, so an early read would show."""
    queued = ctypes.c_int(standin.standin_calls(b"cuStreamSynchronize")).value
    found = CudaBackend().summarise(*CASE.measured())
    assert standin.standin_calls(b"cuStreamSynchronize") > queued
    assert np.abs(found.theta - HostBackend(1).summarise(*CASE.measured()).theta).max() < 1e-4
