# Lamina's reducer for Python: compressed averages for gradients of one's own, by ctypes.
#
# The structures of include/lamina/status.h and reducer.h under the same names, and two classes that
# wrap the calls; the comments in the headers are the documentation. Copy this file into a program.
# Needs mpi4py, NumPy and a shared liblamina: LAMINA_LIBRARY names the file when it is not where the
# system looks.
#
# SPDX-License-Identifier: Apache-2.0
import ctypes
import os

import numpy
from mpi4py import MPI

STATE_DIMS_MAX = 6
REDUCER_SCALARS_MAX = 8


class lmn_error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("rank", ctypes.c_int), ("message", ctypes.c_char * 1024)]


class lmn_reducer_layer(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("n_dims", ctypes.c_size_t),
                ("dims", ctypes.c_size_t * STATE_DIMS_MAX), ("dense", ctypes.c_bool)]


class lmn_reducer_options(ctypes.Structure):
    _fields_ = [("compress", ctypes.c_char_p), ("feedback", ctypes.c_char_p),
                ("allocate", ctypes.c_char_p), ("collective", ctypes.c_char_p),
                ("bucket_bytes", ctypes.c_size_t), ("dense_below", ctypes.c_size_t),
                ("n_scalars", ctypes.c_size_t),
                ("other", ctypes.c_uint64 * 32)]  # room for options that newer versions have


class lmn_step_report(ctypes.Structure):
    _fields_ = [("applied", ctypes.c_bool), ("reason", ctypes.c_char * 256),
                ("scalars", ctypes.c_float * REDUCER_SCALARS_MAX),
                ("bytes_sent", ctypes.c_uint64), ("bytes_dense", ctypes.c_uint64),
                ("seconds_encode", ctypes.c_double), ("seconds_wait", ctypes.c_double),
                ("seconds_decode", ctypes.c_double),
                ("other", ctypes.c_uint64 * 64)]  # levels, and what newer versions tell


class LaminaError(Exception):
    """What failed, where, and what to do."""


def _load():
    library = ctypes.CDLL(os.environ.get("LAMINA_LIBRARY", "liblamina.so"))
    handle, error = ctypes.c_void_p, ctypes.POINTER(lmn_error)
    out, index = ctypes.POINTER(handle), ctypes.c_size_t
    calls = {  # name: (result, arguments)
        "lmn_world_create_fortran": (ctypes.c_int, [ctypes.c_int, handle, out, error]),
        "lmn_world_destroy": (None, [handle]),
        "lmn_reducer_options_default": (lmn_reducer_options, []),
        "lmn_reducer_create": (ctypes.c_int, [handle, ctypes.POINTER(lmn_reducer_layer), index,
                                              ctypes.POINTER(lmn_reducer_options), out, error]),
        "lmn_reducer_destroy": (None, [handle]),
        "lmn_reducer_gradient": (handle, [handle, index]),
        "lmn_reducer_begin": (ctypes.c_int, [handle, ctypes.c_uint64, error]),
        "lmn_reducer_ready": (ctypes.c_int, [handle, index, handle, error]),
        "lmn_reducer_set_scalar": (None, [handle, index, ctypes.c_float]),
        "lmn_reducer_progress": (ctypes.c_int, [handle, error]),
        "lmn_reducer_finish": (ctypes.c_int, [handle, ctypes.POINTER(lmn_step_report), error]),
        "lmn_reducer_estimate": (handle, [handle, index]),
    }
    for name, (result, arguments) in calls.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def _call(name, *arguments):
    error = lmn_error()
    if getattr(_library, name)(*arguments, error) != 0:
        raise LaminaError(error.message.decode())


class Reducer:
    """Collective over comm. layers: {name: shape}, in the order in which gradients become ready.
    options: fields of lmn_reducer_options. Gradients and estimates are arrays of the reducer's own
    memory: nothing is copied, and they live no longer than the reducer."""

    def __init__(self, comm: MPI.Comm, layers, **options):
        self._world, self._reducer = ctypes.c_void_p(), ctypes.c_void_p()
        self._names, self._shapes = list(layers), list(layers.values())
        settings = _library.lmn_reducer_options_default()
        for name, value in options.items():
            if name not in dict(lmn_reducer_options._fields_):
                raise LaminaError(f"no option '{name}'")
            setattr(settings, name, value.encode() if isinstance(value, str) else value)
        array = (lmn_reducer_layer * len(layers))()
        for layer, (name, shape) in zip(array, layers.items()):
            layer.name, layer.n_dims = name.encode(), len(shape)
            layer.dims[: len(shape)] = shape
        _call("lmn_world_create_fortran", comm.py2f(), None, self._world)
        _call("lmn_reducer_create", self._world, array, len(array), settings, self._reducer)

    def _array(self, name, layer):
        address = getattr(_library, name)(self._reducer, layer)
        shape = self._shapes[layer]
        pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
        return numpy.ctypeslib.as_array(pointer, shape=tuple(shape))

    def gradient(self, name):
        """Memory in which a gradient can be computed directly."""
        return self._array("lmn_reducer_gradient", self._names.index(name))

    def begin(self, step):
        _call("lmn_reducer_begin", self._reducer, step)

    def ready(self, name, gradient):
        """The gradient is final: gradient(name) itself, or any array, which is copied."""
        layer = self._names.index(name)
        gradient = numpy.ascontiguousarray(gradient, dtype=numpy.float32)
        if gradient.shape != tuple(self._shapes[layer]):
            raise LaminaError(f"gradient of {name} has shape {gradient.shape}")
        _call("lmn_reducer_ready", self._reducer, layer, gradient.ctypes.data)

    def set_scalar(self, index, value):
        _library.lmn_reducer_set_scalar(self._reducer, index, value)

    def progress(self):
        _call("lmn_reducer_progress", self._reducer)

    def finish(self):
        report = lmn_step_report()
        _call("lmn_reducer_finish", self._reducer, report)
        return report

    def estimate(self, name):
        """The averaged gradient, valid until the next begin."""
        return self._array("lmn_reducer_estimate", self._names.index(name))

    def close(self):
        """Collective, before MPI ends."""
        _library.lmn_reducer_destroy(self._reducer)
        _library.lmn_world_destroy(self._world)
        self._world, self._reducer = None, None
