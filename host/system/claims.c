/* SPDX-License-Identifier: Apache-2.0 */
/* The system's own words: slos[] and error_budget of its SLO file, recorded as they are. */
#include "system/claims.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "system/textfile.h"

struct claims {
	struct history *history;
	char *file;
	struct stat seen; /* which publication was read last */
};

int claims_create(struct claims **ret_claims, struct history *history, const char *file, struct error *err)
{
	struct claims *claims = calloc(1, sizeof *claims);

	if (!claims || !(claims->file = strdup(file))) {
		free(claims);
		return error_set(err, ENOMEM, "%s: no memory", file);
	}
	claims->history = history;
	*ret_claims = claims;
	return 0;
}

void claims_destroy(struct claims *claims)
{
	if (!claims)
		return;
	free(claims->file);
	free(claims);
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* "met" where it is said; else what the status word means. */
static bool is_met(const json_t *slo)
{
	const json_t *met = json_object_get(slo, "met");

	if (json_is_boolean(met))
		return json_is_true(met);
	if (json_is_number(met))
		return json_number_value(met) != 0.0;
	return strcasecmp(text_of(slo, "status"), "red") != 0;
}

void claims_record(struct history *history, const char *name, double number, bool met, const char *status)
{
	history_append(history, &(struct op){.kind = OP_CLAIM,
				    .type = OP_OK,
				    .pair = OP_NONE,
				    .actor = name,
				    .number = number,
				    .value = met,
				    .detail = status});
}

void claims_take(struct history *history, const char *text, size_t size)
{
	json_t *root = json_loadb(text, size, 0, NULL), *slo, *budget;
	size_t i;

	json_array_foreach (json_object_get(root, "slos"), i, slo) {
		claims_record(history, text_of(slo, "name"), json_number_value(json_object_get(slo, "current")),
		    is_met(slo), text_of(slo, "status"));
	}
	budget = json_object_get(root, "error_budget");
	if (json_is_object(budget))
		claims_record(history, "error_budget", json_number_value(json_object_get(budget, "budget_fraction")),
		    !json_is_true(json_object_get(budget, "is_depleted")), text_of(budget, "status"));
	json_decref(root);
}

/* A file that does not parse claims nothing; that it does not is for statefiles.c to say. */
static void read_claims(struct claims *claims)
{
	char *text;
	size_t size;

	if (textfile_read(&text, &size, claims->file, NULL) != 0)
		return;
	claims_take(claims->history, text, size);
	free(text);
}

static void on_event(void *arg, const char *path, uint32_t mask)
{
	struct claims *claims = arg;
	struct stat st;

	if (strcmp(path, claims->file) != 0 || (mask && !(mask & (IN_CLOSE_WRITE | IN_MOVED_TO))))
		return;
	if (stat(path, &st) != 0)
		return;
	if (st.st_ino == claims->seen.st_ino && st.st_size == claims->seen.st_size &&
	    !memcmp(&st.st_mtim, &claims->seen.st_mtim, sizeof st.st_mtim))
		return; /* read already, when its directory was listed */
	claims->seen = st;
	read_claims(claims);
}

int claims_watch(struct claims *claims, struct watch *watch, struct error *err)
{
	return watch_beside(watch, claims->file, on_event, claims, err);
}
