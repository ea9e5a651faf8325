# The lines of layout.c, from the structures that Python's example declares.
#
# SPDX-License-Identifier: Apache-2.0
import ctypes

import mpi4py

mpi4py.rc.initialize = False  # nothing here communicates
import lamina_reducer

for name in ["lmn_error", "lmn_reducer_layer", "lmn_reducer_options", "lmn_step_report"]:
    structure = getattr(lamina_reducer, name)
    for field, _ in structure._fields_:
        if field != "other":
            place = getattr(structure, field)
            print(f"{name}.{field} {place.offset} {place.size}")
    print(f"{name} 0 {ctypes.sizeof(structure)}")
