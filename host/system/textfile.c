/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of the system under test, read once, as they are. */
#include "system/textfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int slurp(int fd, char **text, size_t *size, const char *path, struct error *err)
{
	size_t used = 0, room = 4096;
	char *buf = malloc(room);

	if (!buf)
		return error_set(err, ENOMEM, "%s: no memory to read it", path);
	for (;;) {
		ssize_t got = read(fd, buf + used, room - used - 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int code = errno;

			free(buf);
			return error_set(err, code, "%s: %s", path, strerror(code));
		}
		if (got == 0)
			break;
		used += (size_t)got;
		if (used > TEXTFILE_SIZE_MAX) {
			free(buf);
			return error_set(err, EFBIG, "%s: longer than %u bytes", path, TEXTFILE_SIZE_MAX);
		}
		if (room - used < 2) {
			char *more = realloc(buf, room * 2);

			if (!more) {
				free(buf);
				return error_set(err, ENOMEM, "%s: no memory to read it", path);
			}
			buf = more;
			room *= 2;
		}
	}
	buf[used] = '\0';
	*text = buf;
	*size = used;
	return 0;
}

int textfile_read(char **ret_text, size_t *ret_size, const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), result;

	if (fd < 0) {
		int code = errno;

		return error_set(err, code, "%s: %s", path, strerror(code));
	}
	result = slurp(fd, ret_text, ret_size, path, err);
	close(fd);
	return result;
}

int textfile_line(const char *path, char *ret, size_t size, struct error *err)
{
	char *text = NULL, *from;
	size_t length;

	if (textfile_read(&text, &length, path, err) != 0 || !text)
		return -1;
	from = text + strspn(text, " \t");
	length = strcspn(from, "\r\n");
	while (length && isspace((unsigned char)from[length - 1]))
		length--;
	if (length >= size)
		length = size - 1;
	memcpy(ret, from, length);
	ret[length] = '\0';
	free(text);
	return 0;
}

int textfile_start_time(pid_t pid, uint64_t *ret_ticks, struct error *err)
{
	char path[64], *text = NULL, *at, state = '?';
	uint64_t ticks = 0;
	size_t size;
	int result;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (textfile_read(&text, &size, path, NULL) != 0 || !text)
		return error_set(err, ESRCH, "process %d: it has gone", (int)pid);
	at = strrchr(text, ')'); /* the name may hold anything, so count from its end */
	result =
	    at ? sscanf(at, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
		     &state, &ticks)
	       : 0;
	free(text);
	if (result != 2)
		return error_set(err, EPROTO, "%s: not as proc(5) says", path);
	if (state == 'Z' || state == 'X')
		return error_set(err, ESRCH, "process %d: it is dead", (int)pid);
	*ret_ticks = ticks;
	return 0;
}
