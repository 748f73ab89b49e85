/* SPDX-License-Identifier: Apache-2.0 */
/* The preloaded library, as bytes inside the program: wherever the program is, it has it. */
#ifndef TRITONE_CRASH_RECORD_IMAGE_H
#define TRITONE_CRASH_RECORD_IMAGE_H

#include <stddef.h>

extern const unsigned char record_image[];
extern const size_t record_image_size;

#endif
