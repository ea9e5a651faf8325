# Compressed averages for gradients of one's own, in Python.
#
#     LAMINA_LIBRARY=build/release/src/liblamina.so mpirun -np 2 python3 average_gradients.py \
#         [COMPRESS [FEEDBACK]]
#
# Fits outputs = inputs * weight + bias by stochastic gradient descent. Every rank draws samples of
# its own; Lamina averages the gradients. The model and its derivative are this program's business,
# and so is what it does with the averages.
#
# SPDX-License-Identifier: Apache-2.0
import sys

import numpy
from mpi4py import MPI

from lamina_reducer import LaminaError, Reducer

INPUTS, OUTPUTS, BATCH, STEPS, LEARNING_RATE = 128, 16, 64, 600, numpy.float32(0.02)


def train(reducer, step, fit, truth, inputs):
    """One step on this rank's samples: gradients are handed over as they become ready."""
    reducer.begin(step)
    errors = inputs @ (fit["weight"] - truth["weight"]) + (fit["bias"] - truth["bias"])
    # Memory of the reducer, so that nothing has to be copied.
    bias_gradient = reducer.gradient("bias")
    numpy.mean(errors, axis=0, out=bias_gradient)
    reducer.ready("bias", bias_gradient)
    weight_gradient = reducer.gradient("weight")
    numpy.matmul(inputs.T, errors / BATCH, out=weight_gradient)
    reducer.ready("weight", weight_gradient)
    # Summed over ranks with the gradients.
    reducer.set_scalar(0, 0.5 * float(numpy.sum(errors**2)) / BATCH)
    report = reducer.finish()
    if report.applied:  # on all ranks or on none: a NaN anywhere skips the step everywhere
        for name, values in fit.items():
            values -= LEARNING_RATE * reducer.estimate(name)
    return report


def main():
    comm = MPI.COMM_WORLD
    shared, own = numpy.random.default_rng(0), numpy.random.default_rng(comm.rank + 1)
    # In the order in which gradients become ready. Small layers always travel whole.
    layers = {"bias": (OUTPUTS,), "weight": (INPUTS, OUTPUTS)}
    reducer = Reducer(comm, layers, n_scalars=1,
                      compress=sys.argv[1] if len(sys.argv) > 1 else "topk:density=0.05",
                      feedback=sys.argv[2] if len(sys.argv) > 2 else "econtrol")
    truth = {name: shared.standard_normal(shape, numpy.float32) for name, shape in layers.items()}
    # Zero, on all ranks: the same start, the same averages, the same end.
    fit = {name: numpy.zeros(shape, numpy.float32) for name, shape in layers.items()}
    sent, dense = 0, 0
    for step in range(STEPS):
        inputs = own.standard_normal((BATCH, INPUTS), numpy.float32)
        report = train(reducer, step, fit, truth, inputs)
        sent, dense = sent + report.bytes_sent, dense + report.bytes_dense
        if comm.rank == 0 and (step % 100 == 0 or step == STEPS - 1):
            print(f"step {step:3} loss {report.scalars[0] / comm.size:.3e}")
    reducer.close()

    bits = {name: values.tobytes() for name, values in fit.items()}
    is_same = comm.allreduce(comm.bcast(bits) == bits, MPI.LAND)
    sent, dense = comm.allreduce(sent), comm.allreduce(dense)
    if comm.rank == 0:
        print(f"sent {sent} bytes instead of {dense}")
        print("all ranks hold the same parameters" if is_same else "parameters differ")
    return 0 if is_same else 1


try:
    sys.exit(main())
except LaminaError as error:
    print(f"average_gradients: {error}", file=sys.stderr)
    MPI.COMM_WORLD.Abort(1)
