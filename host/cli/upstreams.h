/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `tritone gateway` that say which providers are asked and not played. */
#ifndef TRITONE_CLI_UPSTREAMS_H
#define TRITONE_CLI_UPSTREAMS_H

#include "gateway/gateway.h"

struct upstreams {
	char *urls[GATEWAY_NAMES_MAX], *keys[GATEWAY_NAMES_MAX]; /* NAME, '\0', URL or VARIABLE; owned */
	size_t url_count, key_count;
	int64_t silence_ms;
};

#define UPSTREAMS_USAGE                                                                                                \
	"      --upstream NAME=URL   this provider is not played: its requests go to URL (may be given again)\n"       \
	"      --key-from NAME=VARIABLE  the API key for it, from this environment variable instead of the client\n"   \
	"      --upstream-timeout TIME   an upstream that is silent for so long is given up (default: 2m)\n"           \
	"      --record FILE         add what upstreams answer to FILE, without any API key\n"                         \
	"      --replay FILE         answer from such a file, and ask nobody\n"

/* NAME=URL, NAME=VARIABLE, a duration. 0, or the exit status after having said what is wrong. */
int upstreams_url(struct upstreams *upstreams, const char *text);
int upstreams_key(struct upstreams *upstreams, const char *text);
int upstreams_timeout(struct upstreams *upstreams, const char *text);
/* Once all have been read: into the options, which point into `upstreams`. */
int upstreams_set(const struct upstreams *upstreams, struct gateway_options *options);
void upstreams_free(struct upstreams *upstreams);

#endif
