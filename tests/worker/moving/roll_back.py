"""Somebody who rolls a job type back and is killed: ``roll_back.py JOB_TYPE [N before|after]``.

With a number, the process dies by SIGKILL at that step, before it is taken or before it is noted.
"""

import json
import os
import signal
import sys

from project import milepost

from milepost.routing.steps import Steps

take = Steps.take


def take_and_die(self, turn):
    number, when = int(sys.argv[2]), sys.argv[3]
    mine = turn.plan.steps[number] == turn.step
    if mine and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    outcome = take(self, turn)
    if mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


if len(sys.argv) > 2:
    Steps.take = take_and_die
done = milepost.rollbacks.rollback_job_type(sys.argv[1], by="operator")
print(json.dumps(done.as_dict()))
