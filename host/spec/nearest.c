/* SPDX-License-Identifier: Apache-2.0 */
/* "did you mean ...?": edit distance with transpositions (Damerau's optimal string alignment). */
#include "spec/spec.h"

#include <string.h>

#define WORD_MAX     40 /* longer words are not worth a guess */
#define DISTANCE_MAX 3

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t row[3][WORD_MAX + 1]; /* the one before last, the last, this one */
	size_t i, j;

	for (j = 0; j <= b_len; j++) {
		row[0][j] = 0;
		row[1][j] = j;
	}
	for (i = 1; i <= a_len; i++) {
		row[2][0] = i;
		for (j = 1; j <= b_len; j++) {
			size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;

			row[2][j] = least(least(row[1][j] + 1, row[2][j - 1] + 1), row[1][j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[2][j] = least(row[2][j], row[0][j - 2] + 1);
		}
		memcpy(row[0], row[1], sizeof row[0]);
		memcpy(row[1], row[2], sizeof row[1]);
	}
	return row[1][b_len];
}

const char *spec_nearest(const char *word, const char *const *known)
{
	size_t best_distance = DISTANCE_MAX + 1, length = strlen(word);
	const char *best = NULL;

	if (!length || length > WORD_MAX)
		return NULL;
	for (; *known; known++) {
		size_t known_length = strlen(*known), d;

		if (known_length > WORD_MAX)
			continue;
		d = distance(word, length, *known, known_length);
		/* three edits turn any word of four letters into nearly any other */
		if (d < best_distance && 2 * d <= (length > known_length ? length : known_length)) {
			best_distance = d;
			best = *known;
		}
	}
	return best;
}
