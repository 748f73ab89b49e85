/* SPDX-License-Identifier: Apache-2.0 */
/* leftover: what a command has started and left running, wherever it went (a daemon, too), is ended with the process
 * that judges. */
#ifndef TRITONE_CRASH_LEFTOVER_H
#define TRITONE_CRASH_LEFTOVER_H

/* From now on orphans below this process become its children. */
void leftover_adopt(void);
/* Ends all children of this process, and theirs. It must have none that it still wants. Cheap where there is none. */
void leftover_end(void);

#endif
