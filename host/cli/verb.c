/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs: one line for each file in this folder. */
#include "cli/verb.h"

#include <stddef.h>

#include "runner/runner.h"
#include "keeper/keeper.h"

const struct verb verb_table[] = {
    {"doctor", "what this machine lacks, and what that costs", verb_doctor},
    {"gateway", "run a gateway (model providers and sinks) by itself", verb_gateway},
    {"__runner", NULL, runner_main},
    {"__keeper", NULL, keeper_main},
    {"test", "run a suite or an experiment, and judge", verb_test},
    {"system", "a manifest for a system of one's own, and whether it is right", verb_system},
    {"run", "run a schedule of the simulation on the real system", verb_run},
    {"up", "start a system and keep it running", verb_up},
    {"inject", "fire one fault by hand at a running system", verb_inject},
    {"halt", "the kill switch, by hand", verb_halt},
    {"status", "the runs, and what they have left behind", verb_status},
    {"recover", "undo what a tritone that is gone has left behind", verb_recover},
    {"plugin", "the faults there are, and what each takes", verb_plugin},
    {"simulate", "seeds of the reference orchestrator in virtual time", verb_simulate},
    {"replay", "one seed of the simulation again", verb_replay},
    {"show", "the timeline of a kept run", verb_show},
    {"wal", "dump a log, or verify it", verb_wal},
    {"crashtest", "what a loss of power could leave behind, all of it, recovered and judged", verb_crashtest},
    {NULL, NULL, NULL},
};
