"""A stand-in for TensorRT and for a GPU: the calls that `serialise` and `Runner` make, on host memory.

What it builds is the ONNX file itself, and ONNX Runtime executes it at the addresses given, so that the whole path from
`build` to maps can be walked. It proves the order and the arguments of calls, not TensorRT.
"""

import contextlib
import ctypes
import types

import numpy as np
import onnxruntime as ort

from edge_pigment.prior.context import INPUT, OUTPUTS

MAGIC = b"stand-in plan "


class Memory:
    """Device memory: the host's."""

    def __init__(self, size):
        self._bytes = np.zeros(size, np.uint8)

    def __int__(self):
        return self._bytes.ctypes.data

    def free(self):
        self._bytes = None


class Driver:
    """PyCUDA's driver, as far as it is needed."""

    mem_alloc = Memory

    @staticmethod
    def memcpy_htod_async(target, source, stream):
        ctypes.memmove(target, source.ctypes.data, source.nbytes)

    @staticmethod
    def memcpy_dtoh_async(target, source, stream):
        ctypes.memmove(target.ctypes.data, source, target.nbytes)


class StandInGpu:
    """As `physics.gpu.Gpu`."""

    name, driver, stream = "stand-in, sm_110", Driver, types.SimpleNamespace(handle=4242)

    @contextlib.contextmanager
    def current(self):
        yield

    def empty(self, shape):
        return np.empty(shape, np.float32)

    def synchronise(self):
        pass


class Context:
    """IExecutionContext; `calls` records."""

    def __init__(self, model, change, wait):
        self._wait = wait
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._change, self._at, self.calls = change, {}, []

    def set_input_shape(self, name, shape):
        self.calls.append(("set_input_shape", name, tuple(shape)))
        self._shape = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        self.calls.append(("set_tensor_address", name))
        self._at[name] = address
        return True

    def _array(self, name, channels):
        shape = (self._shape[0], channels, *self._shape[2:])
        pointer = ctypes.cast(self._at[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, shape)

    def execute_async_v3(self, stream):
        self.calls.append(("execute_async_v3", stream))
        self._wait()
        found = self._session.run(list(OUTPUTS), {INPUT: self._array(INPUT, 45)})
        for name, values in zip(OUTPUTS, found, strict=True):
            self._array(name, values.shape[1])[...] = self._change * values
        return True


class Engine:
    """ICudaEngine."""

    names, largest = (INPUT, *OUTPUTS), (16, 45, 320, 320)

    def __init__(self, model, change, wait):
        self._made = (model, change, wait)
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_profile_shape(self, name, profile):
        return [(1, 45, 1, 1), (4, 45, 96, 96), self.largest]

    def create_execution_context(self):
        self.context = Context(*self._made)
        return self.context


def stand_in(version="10.3.0", change=1.0, loads=True, wait=lambda: None):
    """A module with TensorRT's names; `change` scales what its engines compute, `wait` lets the stream come to them."""

    class Logger:
        ERROR = 1

        def __init__(self, level):
            pass

    class Runtime:
        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, plan):
            module.engines.append(Engine(plan[len(MAGIC) :], change, wait) if loads else None)
            return module.engines[-1]

    class Builder:
        def __init__(self, logger):
            pass

        def create_network(self, flags):
            return types.SimpleNamespace(onnx=b"")

        def create_builder_config(self):
            return types.SimpleNamespace(add_optimization_profile=lambda profile: None)

        def create_optimization_profile(self):
            return types.SimpleNamespace(set_shape=lambda *shapes: None)

        def build_serialized_network(self, network, config):
            return MAGIC + network.onnx

    class OnnxParser:
        def __init__(self, network, logger):
            self._network = network

        def parse(self, content):
            self._network.onnx = content
            return True

    module = types.ModuleType("tensorrt")
    flag = types.SimpleNamespace(STRONGLY_TYPED=1)
    vars(module).update(
        __version__=version,
        Logger=Logger,
        Runtime=Runtime,
        Builder=Builder,
        OnnxParser=OnnxParser,
        NetworkDefinitionCreationFlag=flag,
        engines=[],
    )
    return module
