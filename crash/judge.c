/* SPDX-License-Identifier: Apache-2.0 */
/* What every judge's verdict has in common. */
#include "crash/judge.h"

const char *crash_outcome_name(enum crash_outcome outcome)
{
	static const char *const outcome_names[CRASH_OUTCOMES] = {
	    "recovered", "refused", "lost acknowledged data", "corrupt", "recovery failed"};

	return outcome_names[outcome];
}
