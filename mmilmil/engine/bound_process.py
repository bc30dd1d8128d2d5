"""``bound_process.py PARENT FOLDER LOG FILE ARGS`` runs a Python file in a process that ends when its starter ends.

For what starts processes in a way of its own, as torchrun does, each in a session that no Ctrl-C reaches. PARENT is the number
of the starting process, FOLDER where messages are left (:mod:`mmilmil.engine.failures`), LOG the file that gets what is
written, or empty. It is called by its path and imports nothing of mmilmil, so that hardly any time passes in which the process
is not bound.
"""

import ctypes
import os
import signal
import sys

parent, folder, log, *command = sys.argv[1:]
if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2); it outlives the exec below
    if os.getppid() != int(parent):  # it has ended already
        sys.exit(1)
os.environ['MMILMIL_FAILURES'] = folder
if log:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
os.execv(sys.executable, [sys.executable, *command])
